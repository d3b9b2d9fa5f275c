export { createFolderRepository, openFolderRepository } from './folder/folder-repository.ts';
export { checkMount, type FolderRepositoryOptions } from './folder/repository-marker.ts';
export { summaryOf } from './summary.ts';
