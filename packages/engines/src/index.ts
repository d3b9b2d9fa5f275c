export { engineNamed, engines, supportedMethods } from './registry.ts';
