import type { z } from 'zod';
import { helloAnswerSchema } from './hello.ts';
import { emptyAnswerSchema, grantAnswerSchema, heartbeatAnswerSchema, reportAnswerSchema } from './messages.ts';

/**
 * What the control plane may answer to each call of an agent. The agent parses every answer with its schema and ends the session
 * on anything else, so that nothing unexpected is acted on or journaled. Commands are parsed by readCommand.
 */
export const ANSWER_SCHEMAS: Readonly<Record<string, z.ZodType>> = {
  hello: helloAnswerSchema,
  ack: emptyAnswerSchema,
  requestGrant: grantAnswerSchema,
  report: reportAnswerSchema,
  heartbeat: heartbeatAnswerSchema,
  inventory: emptyAnswerSchema,
};
