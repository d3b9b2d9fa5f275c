import * as delivery from '@lastgood/protocol';

/** The pure functions under test; a mutation replaces some of them. */
export type Reducers = Pick<
  typeof delivery,
  | 'helloOf'
  | 'adoptHelloAnswer'
  | 'acceptCommand'
  | 'cancelAttempt'
  | 'handleOccurrences'
  | 'startableJobs'
  | 'nextStep'
  | 'markRunning'
  | 'finishJob'
  | 'recoverAfterCrash'
  | 'reportBatch'
  | 'confirmReported'
  | 'forgetFinished'
  | 'emptyControlLedger'
  | 'createJob'
  | 'requestCancel'
  | 'setSchedules'
  | 'receiveHello'
  | 'acknowledge'
  | 'dispatch'
  | 'grantStart'
  | 'receiveReport'
  | 'receiveHeartbeat'
  | 'expireLeases'
  | 'afterCatalogRestore'
  | 'missingJobIds'
  | 'withEndedJobs'
  | 'withoutEndedJobs'
>;

/** What the apps around the reducers must do; a mutation switches one off. */
export interface Duties {
  /** R1: the agent commits its journal before it acknowledges a command. */
  readonly journalBeforeAck: boolean;
  /** The agent commits `running` before the first effect. */
  readonly journalBeforeEffect: boolean;
  /** The agent commits an instant as handled together with the job of the occurrence. */
  readonly journalOccurrencesWhole: boolean;
  /** The control plane commits before it answers or sends. */
  readonly commitBeforeSend: boolean;
  /** R7: what was not confirmed is still there after a crash. */
  readonly durableOutbox: boolean;
  /** R8: a new session begins after the durable acknowledgement, not where the last one stopped sending. */
  readonly resumeFromAck: boolean;
  /** R10: the newest session of an agent ends the older ones. */
  readonly fenceSessions: boolean;
  /** R10: a hello on a connection older than the newest that said hello is refused, even when that one is gone. */
  readonly refuseOlderLinks: boolean;
  /** R14: a restarted agent starts nothing of its journal before its first hello is answered. */
  readonly waitForHello: boolean;
  /** What a hello's answer says is compared with what the hello said, not with the journal as it is now. */
  readonly keepSentJobs: boolean;
  /** Processes of attempts that the answer to a hello has finished are ended at once. */
  readonly stopOverruled: boolean;
  /** Ended jobs that a message names are looked up in the catalog, because memory holds open ones only. */
  readonly lookUpEnded: boolean;
  /** R6: the time of a grant counts from the question. */
  readonly endGrants: boolean;
}

export interface Protocol {
  readonly reduce: Reducers;
  readonly duties: Duties;
}

export const realProtocol: Protocol = {
  reduce: delivery,
  duties: {
    journalBeforeAck: true,
    journalBeforeEffect: true,
    journalOccurrencesWhole: true,
    commitBeforeSend: true,
    durableOutbox: true,
    resumeFromAck: true,
    fenceSessions: true,
    refuseOlderLinks: true,
    waitForHello: true,
    keepSentJobs: true,
    stopOverruled: true,
    lookUpEnded: true,
    endGrants: true,
  },
};
