import { createHash } from 'node:crypto';
import {
  type BackupSummary,
  boundedText,
  boundedValue,
  type Finding,
  type inventoryInputSchema,
  LIMITS,
  makeFinding,
  sizeOf,
  type TargetInventory,
} from '@lastgood/protocol';
import type { z } from 'zod';

/** What leaves room in the frame for what is not a list. */
const FACTS_BYTES = LIMITS.frameBytes - 48 * 1024;
/** Half of the space is for backups, but every target keeps its name, its state and a few findings. */
const TARGETS_BYTES = FACTS_BYTES / 2;
const LEAST_TARGET_BYTES = 640;
const REMOVED_BYTES = FACTS_BYTES / 8;
const TRUNCATED = makeFinding('INVENTORY_TRUNCATED', null);
const FINDING_BYTES = 1_024;
const SHORT_FINDING_BYTES = 400;

export interface HostInventory {
  readonly targets: readonly TargetInventory[];
  /** Oldest first. */
  readonly backups: readonly BackupSummary[];
  /** Backups that rotations have removed. */
  readonly removed: readonly string[];
  /** The targets whose repository could be read. */
  readonly scanned: readonly string[];
  /** The names of the checks of the agent file, and of the hooks that the control plane may run. */
  readonly checks: readonly string[];
  readonly hooks: readonly string[];
  /** Targets on which a job has ended since their repository was read: that reading is not reported. */
  readonly overtaken: () => ReadonlySet<string>;
}
type BoundedInventory = Omit<z.input<typeof inventoryInputSchema>, 'sessionId'>;

/** Those of the first items that fit together. */
function fitting<T>(items: readonly T[], bytes: number): T[] {
  let room = bytes;
  const end = items.findIndex((item) => {
    room -= sizeOf(item) + 1;
    return room < 0;
  });
  return items.slice(0, end === -1 ? items.length : end);
}

/** A finding of at most so many bytes: its long texts and lists are cut. */
export function boundedFinding(finding: Finding, maxBytes = FINDING_BYTES): Finding {
  if (sizeOf(finding) <= maxBytes) return finding;
  const room = maxBytes - sizeOf({ ...finding, params: {} });
  return { ...finding, params: (boundedValue(finding.params, room) ?? {}) as Finding['params'] };
}

function boundedTarget(target: TargetInventory, bytes: number): TargetInventory {
  if (sizeOf(target) <= bytes) return target;
  const short = (text: string | null): string | null => (text === null ? null : boundedText(text, 64));
  const { setAside: _setAside, ...rest } = target;
  const bare = {
    ...rest,
    version: short(target.version),
    systemId: short(target.systemId),
    labels: {},
    databases: [],
    findings: [TRUNCATED],
    ...(target.stream === undefined ? {} : { stream: { ...target.stream, gaps: target.stream.gaps.slice(-1) } }),
    ...(target.windows === undefined
      ? {}
      : { windows: target.windows.slice(-1).map((window) => ({ ...window, backups: window.backups.slice(-1) })) }),
  };
  const room = bytes - sizeOf(bare);
  const findings = fitting(
    target.findings.map((finding) => boundedFinding(finding, SHORT_FINDING_BYTES)),
    room / 2,
  );
  const labels = fitting(Object.entries(target.labels), (room - sizeOf(findings)) / 2);
  const databases = fitting(target.databases, room - sizeOf(findings) - sizeOf(labels));
  return { ...bare, labels: Object.fromEntries(labels), databases, findings: [TRUNCATED, ...findings] };
}

/** Every target of the host; when they are too large together, those above their share lose the ends of their lists. */
function boundedTargets(targets: readonly TargetInventory[]): TargetInventory[] {
  if (sizeOf(targets) <= TARGETS_BYTES) return [...targets];
  const share = Math.max(LEAST_TARGET_BYTES, Math.floor(TARGETS_BYTES / targets.length));
  return targets.map((target) => boundedTarget(target, share));
}

/** What leaves of the facts: every target, and as many of the newest backups as fit into one frame. */
export function boundedInventory(facts: HostInventory): BoundedInventory {
  const overtaken = facts.overtaken();
  const targets = boundedTargets(facts.targets);
  const scanned = facts.scanned.filter((name) => !overtaken.has(name));
  const removed = fitting(facts.removed.toSorted().reverse(), REMOVED_BYTES);
  const names = { checks: [...facts.checks], hooks: [...facts.hooks] };
  const room = FACTS_BYTES - sizeOf(targets) - sizeOf(scanned) - sizeOf(removed) - sizeOf(names);
  // One backup with very many databases must not leave all the others out.
  const known = facts.backups
    .filter((backup) => !overtaken.has(backup.target))
    .map((backup) => boundedValue(backup, room / 2) as unknown as BackupSummary);
  const backups = fitting(known.reverse(), room).reverse();
  const complete = backups.length === known.length && removed.length === facts.removed.length;
  const content = { targets, backups, complete, removed, scanned, ...names };
  return { ...content, hash: createHash('sha256').update(JSON.stringify(content)).digest('hex') };
}
