import { unreachable } from '@lastgood/core';
import { type Finding, makeFinding, makeRefusal, type Refusal, type Subject } from '@lastgood/protocol';
import type { RestoreFinding } from './restore-plan.ts';

/** A finding of the plan as it is reported. */
export type PlanFinding =
  | { readonly kind: 'refusal'; readonly refusal: Refusal }
  | { readonly kind: 'warning'; readonly warning: Finding };

const refusal = (value: Refusal): PlanFinding => ({ kind: 'refusal', refusal: value });
const warning = (value: Finding): PlanFinding => ({ kind: 'warning', warning: value });

/** Translates a finding of `planRestore` into the catalog. */
export function planFindingOf({ code, params }: RestoreFinding): PlanFinding {
  const text = (name: string): string => String(params[name]);
  const database: Subject = { kind: 'database', name: text('database') };
  const versions = { server: text('server'), source: text('backup') };
  switch (code) {
    case 'database-not-in-backup':
      return refusal(makeRefusal('DATABASE_NOT_IN_BACKUP', database));
    case 'server-older-than-backup':
      return refusal(makeRefusal('SERVER_OLDER_THAN_SOURCE', null, versions));
    case 'server-patch-older-than-backup':
      return warning(makeFinding('SERVER_PATCH_OLDER_THAN_SOURCE', null, versions));
    case 'unknown-version':
      return refusal(makeRefusal('SERVER_VERSION_UNKNOWN', null, versions));
    case 'store-format-unsupported':
      return refusal(makeRefusal('STORE_FORMAT_UNSUPPORTED', database, { format: text('storeFormat') }));
    case 'not-the-default-database':
      return refusal(makeRefusal('NOT_THE_DEFAULT_DATABASE', database, { default: text('default') }));
    case 'no-space':
      return refusal(
        makeRefusal('SERVER_SPACE_LOW', null, { needed: Number(params['needed']), free: Number(params['free']) }),
      );
    case 'no-service-control':
      return refusal(makeRefusal('SERVICE_NOT_NAMED', null));
    case 'pause-too-long':
      return warning(
        makeFinding('PAUSE_TOO_LONG', null, {
          expected: Number(params['expected']),
          allowed: Number(params['allowed']),
        }),
      );
    case 'plugin-missing':
      return warning(makeFinding('PLUGIN_MISSING', { kind: 'extension', name: text('plugin') }));
    case 'replaces-users':
      return warning(makeFinding('ACCOUNTS_REPLACED', null));
    case 'keeps-users':
      return warning(makeFinding('ACCOUNTS_KEPT', null));
    default:
      return unreachable(code);
  }
}
