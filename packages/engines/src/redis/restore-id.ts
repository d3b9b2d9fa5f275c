const JOB_ID = /^([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})$/;

/** What names the folders of a restore: the id of its job in lower-case letters and digits. */
export const restoreIdOf = (jobId: string): string => jobId.replaceAll('-', '').toLowerCase();

/** The id of the job again; null when it was no UUID. */
export const jobIdOf = (restoreId: string): string | null =>
  JOB_ID.test(restoreId) ? restoreId.replace(JOB_ID, '$1-$2-$3-$4-$5') : null;
