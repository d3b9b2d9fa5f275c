CREATE INDEX `backups_job` ON `backups` (json_extract("summary", '$.jobId'));
