export { createRepository, openRepository, type RepositoryOptions } from './format/repository.ts';
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
export { probeS3Store, type S3Probe } from './stores/s3/probe.ts';
export type { S3Environment, S3Location, UploadStep } from './stores/s3/s3-location.ts';
export { createS3Repository, isRepository, openS3Repository } from './stores/s3/s3-repository.ts';
export { S3Store } from './stores/s3/s3-store.ts';
