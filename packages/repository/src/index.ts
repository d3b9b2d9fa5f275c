export { createRepository, openRepository, type RepositoryOptions } from './format/repository.ts';
export { isKeyId, type Signer, signerWith, type TrustedKeys } from './format/signature.ts';
export {
  assertDecryptable,
  createIdentity,
  isRecipient,
  keysOf,
  type RepositoryKeys,
  readIdentityFile,
} from './pipeline/keys.ts';
export {
  createFolderRepository,
  type FolderRepositoryOptions,
  openFolderRepository,
} from './stores/folder/folder-repository.ts';
export { FolderStore } from './stores/folder/folder-store.ts';
export { checkMount } from './stores/folder/mount.ts';
