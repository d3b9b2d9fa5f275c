/** What to write in place of a word or a phrase. */
export interface BannedWord {
  /** A space stands for any white space. Case does not count. */
  readonly pattern: RegExp;
  readonly instead: string;
}

/** Words of old books, figures of speech, and phrases that have to be read twice. */
const OBSCURE: readonly BannedWord[] = [
  { pattern: /\bleavings?\b/, instead: 'leftovers' },
  { pattern: /\bwho(?:m|se)?(?:so)?ever\b/, instead: 'anyone who, any user, the caller' },
  { pattern: /\bhenceforth\b/, instead: 'from now on' },
  {
    pattern: /\b(?:thence|whence|hitherto|heretofore|thereof|whereof|wherein|whereupon|lest|nought)\b/,
    instead: 'a modern word',
  },
  { pattern: /\bstrangers?\b/, instead: 'unauthenticated caller' },
  { pattern: /\btold\b/, instead: 'reported, sent, received' },
  { pattern: /\btells? (?:of|that)\b/, instead: 'reports' },
  { pattern: /\b(?:says?|said) of\b/, instead: 'reports' },
  { pattern: /\b(?:is|are|was|were|been|be) (?:not )?spoken\b/, instead: 'supported' },
  { pattern: /\b(?:is|are|was|were) heard\b|\bhears? of\b|\bheard of\b/, instead: 'received' },
  { pattern: /\bfor good\b/, instead: 'permanently' },
  { pattern: /\bg(?:ive|ives|iven|iving|ave) (?:[\w-]+ ){0,3}away\b/, instead: 'reveal, show' },
  { pattern: /\blur(?:e|es|ed|ing)\b/, instead: 'attack, bait' },
  { pattern: /\blook(?:s|ed|ing)? again\b/, instead: 'check again, retry' },
  { pattern: /\bwhat there is\b/, instead: 'what exists' },
  { pattern: /\bnobody needs?\b/, instead: 'not needed' },
  { pattern: /\bone door\b/, instead: 'its exports' },
  {
    pattern:
      /(?<!\bthere )\bis no(?= \w)(?! longer\b| different\b| more\b| less\b| fewer\b| older\b| newer\b| later\b| earlier\b)/,
    instead: 'not a, invalid',
  },
];

/** Other words for concepts that have a name. */
const SYNONYMS: readonly BannedWord[] = [
  { pattern: /\bcould (?:only )?go back\b/, instead: 'recovery point' },
  { pattern: /\brestore took\b/, instead: 'restore time' },
  { pattern: /\b(?:un)?prov(?:e|es|ed|en|ing)\b|\bproofs?\b/, instead: 'restore test, restore-tested, verify, show' },
  { pattern: /\bkeepers?\b/, instead: 'retention rules' },
  { pattern: /\bfloors?\b/, instead: 'host limits' },
  { pattern: /\b(?:no|has|have|had|for|of) room\b/, instead: 'capacity, space' },
  { pattern: /\bnot in order\b/, instead: 'degraded' },
];

/** British spellings. The project writes American English. */
const BRITISH: readonly BannedWord[] = [
  { pattern: /\bbehaviour\w*/, instead: 'behavior' },
  { pattern: /\bcancell(?:ed|ing|er|ers|able)\b/, instead: 'canceled, canceling' },
  { pattern: /\benrol(?!l)\w*/, instead: 'enroll, enrollment' },
  { pattern: /\bartefact\w*/, instead: 'artifact, object' },
  { pattern: /\bcolour\w*/, instead: 'color' },
  { pattern: /\blicences?\b/, instead: 'license' },
  { pattern: /\bcatalogue[sd]?\b/, instead: 'catalog' },
  { pattern: /\b(?:favour|honour|neighbour)\w*/, instead: 'favor, honor, neighbor' },
  { pattern: /\b(?:centre|metre|fibre)s?\b/, instead: 'center, meter, fiber' },
  { pattern: /\b(?:analys|catalys|paralys)(?:e|ed|ing)\b/, instead: 'analyze' },
  {
    pattern:
      /\b(?:recogn|organ|initial|normal|serial|author|synchron|optim|minim|maxim|summar|real|categor|custom|final|general)is(?:e|es|ed|er|ers|ing|ation|ations)\b/,
    instead: 'the spelling with z',
  },
  {
    pattern: /\b(?:dial|label|model|signal|travel|level|channel|tunnel|total)l(?:ed|ing)\b/,
    instead: 'one l: dialed, labeled',
  },
  { pattern: /\bgrey\b/, instead: 'gray' },
  { pattern: /\bjudgement\b/, instead: 'judgment' },
  { pattern: /\b(?:whil|among)st\b/, instead: 'while, among' },
  { pattern: /\bdefences?\b/, instead: 'defense' },
  { pattern: /\b(?:learnt|spelt|burnt|dreamt)\b/, instead: 'learned, spelled' },
];

/** Words that no comment, string, test title or page of this repository uses. */
export const BANNED: readonly BannedWord[] = [...OBSCURE, ...SYNONYMS, ...BRITISH];
