CREATE TABLE `agents` (
	`agent_id` text PRIMARY KEY NOT NULL,
	`install_id` text NOT NULL,
	`environment` text NOT NULL,
	`host` text NOT NULL,
	`labels` text NOT NULL,
	`public_key` text NOT NULL,
	`enrolled_at` integer NOT NULL,
	`agent_version` text,
	`signing_key` text,
	`last_seen_at` integer,
	`quarantined_at` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `agents_name` ON `agents` (`environment`,`host`);--> statement-breakpoint
CREATE TABLE `alerts` (
	`alert_id` text PRIMARY KEY NOT NULL,
	`code` text NOT NULL,
	`state` text NOT NULL,
	`opened_at` integer NOT NULL,
	`resolved_at` integer,
	`alert` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `alerts_open` ON `alerts` (`alert_id`) WHERE "alerts"."resolved_at" is null;--> statement-breakpoint
CREATE INDEX `alerts_opened` ON `alerts` (`opened_at`);--> statement-breakpoint
CREATE TABLE `audit` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`at` integer NOT NULL,
	`actor` text NOT NULL,
	`action` text NOT NULL,
	`subject` text NOT NULL,
	`detail` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `backup_contents` (
	`backup_id` text NOT NULL,
	`agent_id` text NOT NULL,
	`target` text NOT NULL,
	`kind` text NOT NULL,
	`name` text NOT NULL,
	PRIMARY KEY(`backup_id`, `kind`, `name`),
	FOREIGN KEY (`backup_id`) REFERENCES `backups`(`backup_id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `backup_contents_name` ON `backup_contents` (`agent_id`,`target`,`name`,`backup_id`);--> statement-breakpoint
CREATE TABLE `backups` (
	`backup_id` text PRIMARY KEY NOT NULL,
	`agent_id` text NOT NULL,
	`target` text NOT NULL,
	`job_id` text NOT NULL,
	`sequence` integer NOT NULL,
	`state` text NOT NULL,
	`restorable` integer NOT NULL,
	`restore_tested` integer NOT NULL,
	`held` integer NOT NULL,
	`summary` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `backups_target` ON `backups` (`agent_id`,`target`,`sequence`);--> statement-breakpoint
CREATE INDEX `backups_job` ON `backups` (`job_id`);--> statement-breakpoint
CREATE INDEX `backups_held` ON `backups` (`agent_id`,`target`) WHERE "backups"."held" = 1;--> statement-breakpoint
CREATE TABLE `browser_sessions` (
	`hash` text PRIMARY KEY NOT NULL,
	`token_id` text NOT NULL,
	`created_at` integer NOT NULL,
	`expires_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `commands` (
	`agent_id` text NOT NULL,
	`seq` integer NOT NULL,
	`command` text NOT NULL,
	PRIMARY KEY(`agent_id`, `seq`)
);
--> statement-breakpoint
CREATE TABLE `evidence` (
	`sequence` integer PRIMARY KEY NOT NULL,
	`run_id` text NOT NULL,
	`runbook` text NOT NULL,
	`mode` text NOT NULL,
	`state` text NOT NULL,
	`ended_at` integer NOT NULL,
	`sha256` text NOT NULL,
	`text` text NOT NULL,
	`signature` text NOT NULL,
	`public_key` text NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `evidence_run_id_unique` ON `evidence` (`run_id`);--> statement-breakpoint
CREATE TABLE `fleet_files` (
	`revision` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`content` text NOT NULL,
	`applied_at` integer NOT NULL,
	`applied_by` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `host_commands` (
	`agent_id` text PRIMARY KEY NOT NULL,
	`checks` text NOT NULL,
	`hooks` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `jobs` (
	`job_id` text PRIMARY KEY NOT NULL,
	`agent_id` text NOT NULL,
	`target` text NOT NULL,
	`command` text NOT NULL,
	`state` text NOT NULL,
	`created_at` integer NOT NULL,
	`created_by` text NOT NULL,
	`idempotency_key` text,
	`ended_at` integer,
	`end_recorded_at` integer,
	`restore_ms` integer,
	`restored_database` text,
	`restored_backup_id` text,
	`job` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `jobs_agent` ON `jobs` (`agent_id`,`created_at`);--> statement-breakpoint
CREATE INDEX `jobs_created` ON `jobs` (`created_at`);--> statement-breakpoint
CREATE INDEX `jobs_attempts` ON `jobs` (`agent_id`,`target`,`command`,`ended_at`);--> statement-breakpoint
CREATE INDEX `jobs_open` ON `jobs` (`agent_id`) WHERE "jobs"."ended_at" is null;--> statement-breakpoint
CREATE INDEX `jobs_ended` ON `jobs` (`end_recorded_at`);--> statement-breakpoint
CREATE INDEX `jobs_restores` ON `jobs` (`agent_id`,`target`,`ended_at`) WHERE "jobs"."restore_ms" is not null;--> statement-breakpoint
CREATE UNIQUE INDEX `jobs_idempotency` ON `jobs` (`created_by`,`idempotency_key`);--> statement-breakpoint
CREATE TABLE `ledgers` (
	`agent_id` text PRIMARY KEY NOT NULL,
	`merged_incarnation` text,
	`complete_since` integer,
	`epoch` integer NOT NULL,
	`command_seq` integer NOT NULL,
	`acked` integer NOT NULL,
	`schedules` text
);
--> statement-breakpoint
CREATE TABLE `meta` (
	`key` text PRIMARY KEY NOT NULL,
	`value` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `notification_groups` (
	`environment` text NOT NULL,
	`contact` text NOT NULL,
	`content` text NOT NULL,
	PRIMARY KEY(`environment`, `contact`)
);
--> statement-breakpoint
CREATE TABLE `notifications` (
	`entry_id` text PRIMARY KEY NOT NULL,
	`contact` text NOT NULL,
	`entry` text NOT NULL,
	`created_at` integer NOT NULL,
	`state` text NOT NULL,
	`tries` integer NOT NULL,
	`next_try_at` integer,
	`cause` text,
	`ended_at` integer
);
--> statement-breakpoint
CREATE INDEX `notifications_waiting` ON `notifications` (`next_try_at`) WHERE state = 'waiting';--> statement-breakpoint
CREATE INDEX `notifications_ended` ON `notifications` (`ended_at`);--> statement-breakpoint
CREATE TABLE `occurrences` (
	`occurrence_id` text PRIMARY KEY NOT NULL,
	`schedule_id` text NOT NULL,
	`agent_id` text NOT NULL,
	`target` text NOT NULL,
	`name` text NOT NULL,
	`command` text NOT NULL,
	`due_at` integer NOT NULL,
	`window_ms` integer NOT NULL,
	`state` text NOT NULL,
	`code` text
);
--> statement-breakpoint
CREATE INDEX `occurrences_due` ON `occurrences` (`due_at`);--> statement-breakpoint
CREATE INDEX `occurrences_schedule` ON `occurrences` (`schedule_id`,`due_at`);--> statement-breakpoint
CREATE INDEX `occurrences_target` ON `occurrences` (`agent_id`,`target`,`due_at`);--> statement-breakpoint
CREATE INDEX `occurrences_expected` ON `occurrences` (`due_at`) WHERE state = 'expected';--> statement-breakpoint
CREATE TABLE `runbook_runs` (
	`run_id` text PRIMARY KEY NOT NULL,
	`runbook` text NOT NULL,
	`mode` text NOT NULL,
	`state` text NOT NULL,
	`started_at` integer NOT NULL,
	`ended_at` integer,
	`run` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `runbook_runs_started` ON `runbook_runs` (`runbook`,`started_at`);--> statement-breakpoint
CREATE INDEX `runbook_runs_open` ON `runbook_runs` (`run_id`) WHERE "runbook_runs"."ended_at" is null;--> statement-breakpoint
CREATE TABLE `schedules` (
	`schedule_id` text PRIMARY KEY NOT NULL,
	`agent_id` text NOT NULL,
	`target` text NOT NULL,
	`name` text NOT NULL,
	`entry` text NOT NULL,
	`planned_until` integer NOT NULL,
	`removed_at` integer
);
--> statement-breakpoint
CREATE INDEX `schedules_agent` ON `schedules` (`agent_id`);--> statement-breakpoint
CREATE INDEX `schedules_planned` ON `schedules` (`planned_until`) WHERE "schedules"."removed_at" is null;--> statement-breakpoint
CREATE TABLE `target_databases` (
	`agent_id` text NOT NULL,
	`target` text NOT NULL,
	`name` text NOT NULL,
	`first_seen_at` integer NOT NULL,
	PRIMARY KEY(`agent_id`, `target`, `name`)
);
--> statement-breakpoint
CREATE TABLE `target_statuses` (
	`agent_id` text NOT NULL,
	`target` text NOT NULL,
	`state` text NOT NULL,
	`status` text NOT NULL,
	`computed_at` integer NOT NULL,
	PRIMARY KEY(`agent_id`, `target`)
);
--> statement-breakpoint
CREATE TABLE `targets` (
	`agent_id` text NOT NULL,
	`name` text NOT NULL,
	`inventory` text NOT NULL,
	`seen_at` integer NOT NULL,
	PRIMARY KEY(`agent_id`, `name`)
);
--> statement-breakpoint
CREATE TABLE `tokens` (
	`id` text PRIMARY KEY NOT NULL,
	`hash` text NOT NULL,
	`name` text NOT NULL,
	`kind` text NOT NULL,
	`scope` text,
	`environment` text,
	`host` text,
	`created_at` integer NOT NULL,
	`expires_at` integer,
	`last_used_at` integer,
	`revoked_at` integer,
	`uses_left` integer
);
--> statement-breakpoint
CREATE UNIQUE INDEX `tokens_hash` ON `tokens` (`hash`);