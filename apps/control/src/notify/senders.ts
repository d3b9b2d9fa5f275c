import type { Clock } from '@lastgood/core';
import type { Destination } from './destinations.ts';
import { EmailSender } from './email-sender.ts';
import { HealthchecksPinger } from './healthchecks.ts';
import type { NotifyConfig } from './notify-config.ts';
import type { Sender } from './sender.ts';
import { SlackSender } from './slack-sender.ts';
import { WebhookSender } from './webhook-sender.ts';

/** The sender of a destination by the notification file; undefined when the file does not have it, or not for messages. */
export function makeSenders(config: NotifyConfig, clock: Clock): (destination: Destination) => Sender | undefined {
  const { smtp, channels } = config;
  return (destination) => {
    if (destination.type === 'email')
      return smtp === undefined ? undefined : new EmailSender(smtp, destination.address);
    const channel = channels[destination.name];
    switch (channel?.type) {
      case 'webhook':
        return new WebhookSender(channel, clock);
      case 'slack':
        return new SlackSender(channel.urlFile, clock);
      case 'healthchecks':
      case undefined:
        return undefined;
    }
  };
}

/** The pinger of a channel; undefined when the notification file has no `healthchecks` channel of that name. */
export function makePinger(config: NotifyConfig, name: string, clock: Clock): HealthchecksPinger | undefined {
  const channel = config.channels[name];
  return channel?.type === 'healthchecks' ? new HealthchecksPinger(channel.urlFile, clock) : undefined;
}
