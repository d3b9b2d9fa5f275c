import { randomUUID } from 'node:crypto';
import type { Clock } from '@lastgood/core';
import type { EventFactory } from '@lastgood/protocol';

/** Events of this moment, with random ids. */
export const eventsNow = (clock: Pick<Clock, 'now'>): EventFactory => ({ now: clock.now(), eventId: randomUUID });
