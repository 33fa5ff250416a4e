/** Where a message of a shared subscription has waited that another member gets now. */
export interface FormerPlace {
  /** In whose session it has waited, from which it is being removed. */
  readonly clientId: string;
  /** Under which number it is stored there; 0 if it is not. */
  readonly outgoingId: number;
}
