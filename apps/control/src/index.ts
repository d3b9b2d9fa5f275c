export { type Control, type ControlOptions, startControl } from './control.ts';
export { type NotifyConfig, notifyConfigSchema } from './notify/notify-config.ts';
