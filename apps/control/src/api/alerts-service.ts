import { Failure } from '@lastgood/core';
import { type Alert, describeAlert, severityOf, subjectName } from '@lastgood/core/alerts';
import type { AdminApi, AlertView } from '@lastgood/protocol';
import { type ApiParts, auditChange } from './api-parts.ts';

function viewOf(alert: Alert): AlertView {
  const { alertId, code, state, subject, params, sinceMs, firedAtMs, acknowledged, resolvedAtMs } = alert;
  return {
    alertId,
    code,
    severity: severityOf(code),
    state,
    subject: subjectName(subject),
    params: { ...params },
    text: describeAlert(alert),
    openedAt: sinceMs,
    firedAt: firedAtMs,
    acknowledged:
      acknowledged === null ? null : { by: acknowledged.by, at: acknowledged.atMs, note: acknowledged.note },
    resolvedAt: resolvedAtMs,
  };
}

export class AlertsService {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  async list({ all, limit }: Parameters<AdminApi['alerts']>[0]): Promise<AlertView[]> {
    return (await this.#parts.catalog.alerts.list(!all, limit)).map(viewOf);
  }

  async acknowledge({ alertId, note }: Parameters<AdminApi['acknowledgeAlert']>[0]): Promise<AlertView> {
    const { planner, actor, clock } = this.#parts;
    const audit = auditChange(this.#parts, 'alert.acknowledge', alertId, note ?? '');
    const alert = await planner.alerts.acknowledge(alertId, actor.name, note, clock.now(), [audit]);
    if (alert === undefined)
      throw new Failure('NOT_FOUND', `there is no open alert ${alertId}`, {
        remedy: 'List the open alerts with `lastgood alerts list`.',
      });
    return viewOf(alert);
  }
}
