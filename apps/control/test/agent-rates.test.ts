import { expect, test } from 'vitest';
import { AgentRates } from '../src/sessions/agent-rates.ts';
import { StandingClock } from './support/control-harness.ts';

const rate = { perSecond: 10, burst: 100 };
const limits = { calls: rate, bytes: rate, jobs: rate };

test('attack-B12: an agent that goes faster than its rate waits until it is even again', () => {
  const clock = new StandingClock();
  const { calls } = new AgentRates(limits, clock).of('a');
  expect(calls.take(100)).toBe(0);
  expect(calls.take(10)).toBe(1_000);
  clock.advance(500);
  expect(calls.take(0)).toBe(500);
  clock.advance(60_000);
  // A rest never saves up more than the burst.
  expect(calls.take(101)).toBe(100);
});

test('attack-B12: rates are counted by agent, over all of its connections', () => {
  const rates = new AgentRates(limits, new StandingClock());
  rates.of('bad').bytes.take(1_000);
  expect(rates.of('bad').bytes.take(1)).toBeGreaterThan(0);
  expect(rates.of('good').bytes.take(1)).toBe(0);
});
