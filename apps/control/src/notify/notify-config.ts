import { Failure } from '@lastgood/core';
import { durationSchema, formatProblems, problemsOfIssues, YamlText } from '@lastgood/core/config-file';
import { nameSchema } from '@lastgood/protocol';
import { z } from 'zod';

const path = z.string().startsWith('/', 'use an absolute path');
const url = z.url({ protocol: /^https?$/, error: 'use an http or https URL' });

/** An address whose last part is a secret, as of chat services: it is read from a file. */
const urlFile = path.describe('A file with the URL, readable by the control plane alone.');

const smtpSchema = z
  .strictObject({
    host: z.string().min(1),
    port: z.int().min(1).max(65_535).default(587),
    tls: z
      .enum(['starttls', 'implicit', 'none'])
      .default('starttls')
      .describe(
        'starttls: required, never without; implicit: from the first byte; none: for a server on this machine.',
      ),
    caFile: path.optional().describe('The authority of the server, in PEM; those of the system when absent.'),
    from: z.email().describe('The sender of all mail.'),
    user: z.string().min(1).optional(),
    passwordFile: path.optional().describe('A file with the password.'),
  })
  .refine(
    ({ user, passwordFile }) => (user === undefined) === (passwordFile === undefined),
    'give user and passwordFile, or neither',
  );

const channelSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('webhook'),
    url,
    secretFile: path.describe('A file with the signing secret, `whsec_…`; two lines while keys are exchanged.'),
  }),
  z.strictObject({ type: z.literal('slack'), urlFile }),
  z.strictObject({
    type: z.literal('healthchecks'),
    urlFile: urlFile.describe('A file with the ping URL up to and including its ping key.'),
  }),
]);

/** The notification file of the control plane: where messages go, and the files that hold its secrets. */
export const notifyConfigSchema = z.strictObject({
  smtp: smtpSchema.optional(),
  channels: z.record(nameSchema, channelSchema).default({}),
  deadManSwitch: z
    .strictObject({ urlFile, every: durationSchema.default(300_000) })
    .optional()
    .describe('An external monitor that alerts when this control plane no longer calls it.'),
  baseUrl: url.optional().describe('The address of this control plane for links in messages.'),
});
export type NotifyConfig = z.output<typeof notifyConfigSchema>;
export type SmtpConfig = NonNullable<NotifyConfig['smtp']>;
export type ChannelConfig = NotifyConfig['channels'][string];

/** Reads a notification file; CONFIG_INVALID lists every problem at once as `file:line:column path message`. */
export function parseNotifyConfig(text: string, file: string): NotifyConfig {
  const yaml = new YamlText(text);
  if (yaml.problems.length > 0) throw new Failure('CONFIG_INVALID', formatProblems(file, yaml.problems));
  const parsed = notifyConfigSchema.safeParse(yaml.content ?? {});
  if (parsed.success) return parsed.data;
  const problems = problemsOfIssues(parsed.error.issues).map((problem) => yaml.locate(problem));
  throw new Failure('CONFIG_INVALID', formatProblems(file, problems));
}
