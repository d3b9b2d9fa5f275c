import type { Contact } from '@lastgood/core/fleet-file';
import { deriveUuid } from '@lastgood/core/schedules';

/** Where one copy of a message goes. Each is delivered and retried by itself. */
export type Destination =
  | { readonly type: 'email'; readonly address: string }
  | { readonly type: 'channel'; readonly name: string };

export const destinationName = (destination: Destination): string =>
  destination.type === 'email' ? destination.address : destination.name;

/** All destinations of a contact. */
export const destinationsOf = ({ email = [], channels = [] }: Contact): Destination[] => [
  ...email.map((address) => ({ type: 'email' as const, address })),
  ...channels.map((name) => ({ type: 'channel' as const, name })),
];

/** The id of the copy of a message for a destination: planning or storing it again makes no second one. */
export const copyIdOf = (messageId: string, destination: Destination): string =>
  deriveUuid(messageId, `${destination.type} ${destinationName(destination)}`);
