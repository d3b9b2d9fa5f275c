import type { FindingDefinition } from './finding-definition.ts';

/** The state of a log stream. */
export const STREAM_FINDINGS = {
  STREAM_FAILED: {
    severity: 'error',
    message: 'the log stream ended, and the agent tries again: {error}: {reason}',
    remedy: 'Correct what the message names.',
  },
  WAL_GAP: {
    severity: 'error',
    message: 'WAL is missing from {from} to {to} on timeline {timeline:count}: no instant in between can be restored',
    remedy:
      'Take a physical backup (`lastgood backup TARGET --method physical`): a new recovery window begins with it.',
  },
  WAL_GAP_PASSED: {
    severity: 'info',
    message:
      'WAL is missing from {from} to {to} on timeline {timeline:count}; a later backup has begun a new recovery window',
    remedy: null,
  },
  WAL_OTHER_SYSTEM: {
    severity: 'error',
    message: 'the server is another cluster (system identifier {found}) than the one whose WAL is stored',
    remedy: 'Point the target at the right server, or give the new server a target of its own.',
  },
  WAL_RECEIVER_ABSENT: {
    severity: 'error',
    message: 'no receiver has streamed WAL from the slot since {since}',
    remedy: 'Read the log of the agent for the reason. The agent connects again by itself.',
  },
  WAL_RECEIVER_STALLED: {
    severity: 'error',
    message: 'the server has written {behind:bytes} of WAL that are not stored, and nothing was stored since {since}',
    remedy: 'Check the disk of the repository and the network between server and agent.',
  },
  WAL_SLOT_AT_RISK: {
    severity: 'error',
    message: 'the server removes WAL that is not stored after another {safe:bytes}',
    remedy: 'Find out why the stream is behind, or raise max_slot_wal_keep_size until it has caught up.',
  },
  WAL_SLOT_LOST: {
    severity: 'error',
    message: 'the server has removed WAL that the slot needed: the WAL from there on has a gap',
    remedy: 'Take a physical backup. Raise max_slot_wal_keep_size if the agent was away for less than you plan for.',
  },
  WAL_SLOT_MISSING: {
    severity: 'error',
    message: 'the replication slot of the stream does not exist',
    remedy: 'The agent creates it when it starts the stream. If it does not, read the finding beside this one.',
  },
  WAL_SLOT_UNCAPPED: {
    severity: 'error',
    message:
      'max_slot_wal_keep_size is -1: while the agent is away, the slot of the stream could fill the disk of the server',
    remedy: 'Set a cap on the server, such as max_slot_wal_keep_size = 10GB, and reload its configuration.',
  },
  WAL_SWITCH_NOT_ALLOWED: {
    severity: 'warning',
    message:
      'the role of the agent may not close WAL segments: WAL is stored when a segment is full, however long that takes',
    remedy: 'Grant the role of the agent to close segments; docs/point-in-time.md has the statement.',
  },
} as const satisfies Record<string, FindingDefinition>;
