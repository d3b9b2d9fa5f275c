import type { RunbookPlan } from '@lastgood/protocol';

/** Who is asked, one tap away. */
export function Contacts({ plan }: { readonly plan: RunbookPlan }) {
  if (plan.contacts.length === 0) return null;
  return (
    <section aria-labelledby="contacts">
      <h2 id="contacts">Contacts</h2>
      <ul className="plain contacts">
        {plan.contacts.map(({ name, description, email, channels }) => (
          <li key={name}>
            <b>{name}</b>
            {description !== null && ` (${description})`}:{' '}
            {email.map((address) => (
              <a key={address} href={`mailto:${address}`}>
                {address}
              </a>
            ))}{' '}
            {channels.map((channel) => `channel ${channel}`).join(', ')}
          </li>
        ))}
      </ul>
    </section>
  );
}
