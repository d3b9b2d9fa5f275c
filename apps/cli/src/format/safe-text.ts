/** Text as one word of a shell, whatever is in it: what we advise to type must not do more than it says. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * Text from elsewhere (names of databases, messages of servers) made harmless for a terminal: control characters, among them
 * escape sequences, and marks that reorder text become visible.
 */
export function safeText(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
