export * from './evidence-document.ts';
export * from './evidence-html.ts';
