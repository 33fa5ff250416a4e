/** Where a message of a shared subscription has waited that another member gets now. */
export interface FormerPlace {
  /** In whose session it has waited. */
  readonly clientId: string;
  /** Under which number it is stored there; 0 if it is not, or cannot stay. */
  readonly outgoingId: number;
  /** Whether it stays stored there until whoever has got it calls `vacate`. If not, it goes when it has been delivered. */
  isKept: boolean;
  /** Has what is stored there removed. */
  vacate(): void;
}
