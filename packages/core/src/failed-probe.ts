import { findingOfError } from '@lastgood/protocol';
import type { ProbeReport } from './engine.ts';
import { Failure } from './failure.ts';

/** The report of a server that could not be read. Throws whatever is not a Failure. */
export function failedProbe(error: unknown): ProbeReport {
  if (!(error instanceof Failure)) throw error;
  return {
    state: error.code === 'DATABASE_UNREACHABLE' ? 'unreachable' : 'refused',
    version: null,
    systemId: null,
    sizeBytes: null,
    databases: [],
    findings: [findingOfError(error.wireError, null)],
  };
}
