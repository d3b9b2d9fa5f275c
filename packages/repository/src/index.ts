export {
  createFolderRepository,
  type FolderRepositoryOptions,
  openFolderRepository,
} from './folder/folder-repository.ts';
export { summaryOf } from './summary.ts';
