/** Repositories in S3 buckets: an entry of its own, because the client of AWS takes long to load. */
export { probeS3Store, type S3Probe } from './stores/s3/probe.ts';
export type { S3Environment, S3Location, UploadStep } from './stores/s3/s3-location.ts';
export { createS3Repository, isRepository, openS3Repository } from './stores/s3/s3-repository.ts';
export { S3Store } from './stores/s3/s3-store.ts';
