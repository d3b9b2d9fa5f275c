import { formatProblems } from '../../src/config-file/index.ts';
import {
  type FleetFacts,
  type FleetFile,
  fleetFileSchema,
  type KnownTarget,
  parseFleetFile,
} from '../../src/fleet-file/index.ts';

export const NOW = Date.parse('2027-01-01T00:00:00Z');
export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;

export const target = (more: Partial<KnownTarget> = {}): KnownTarget => ({
  environment: 'prod',
  host: 'db-1',
  target: 'shop',
  engine: 'postgres',
  labels: {},
  hostLimits: null,
  isEncrypted: false,
  canDecrypt: false,
  capabilities: null,
  ...more,
});
export const facts = (more: Partial<FleetFacts> = {}): FleetFacts => ({
  nowMs: NOW,
  targets: [],
  channels: null,
  ...more,
});

/** Reads a file that must be valid by its schema; its checks are left out. */
export const read = (content: object): FleetFile => fleetFileSchema.parse(content);

/** All problems of a text, as the command line prints them. */
export function check(text: string, more: Partial<FleetFacts> = {}): string[] {
  const { errors, warnings } = parseFleetFile(text, facts(more));
  const lines = (kind: string, problems: typeof errors): string[] =>
    problems.length === 0
      ? []
      : formatProblems('f', problems)
          .split('\n')
          .map((line) => `${kind} ${line}`);
  return [...lines('error', errors), ...lines('warning', warnings)];
}
