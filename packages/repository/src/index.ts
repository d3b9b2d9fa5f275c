export { createFolderRepository, openFolderRepository } from './folder/folder-repository.ts';
export { checkMount, type FolderRepositoryOptions } from './folder/place.ts';
export { summaryOf } from './summary.ts';
