export { createFolderRepository, openFolderRepository } from './folder/folder-repository.ts';
export type { FolderRepositoryOptions } from './folder/place.ts';
export { summaryOf } from './summary.ts';
