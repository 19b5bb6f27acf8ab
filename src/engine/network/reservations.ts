/** Addresses that are kept for sandboxes in snapshots. */
export interface Reservations<Address> {
  /** Reserves; gives back what had to go for it, as no more than so many are kept. */
  keep(reservation: string, address: Address): Address | undefined;
  /** Ends a reservation; undefined where there is none. */
  take(reservation: string): Address | undefined;
}

/** No more than `most` reservations: the oldest goes for one more. */
export function createReservations<Address>(most: number): Reservations<Address> {
  const byName = new Map<string, Address>();

  function take(reservation: string): Address | undefined {
    const address = byName.get(reservation);
    byName.delete(reservation);
    return address;
  }

  return {
    keep: (reservation, address) => {
      byName.set(reservation, address);
      const [oldest] = byName.keys();
      return byName.size > most && oldest !== undefined ? take(oldest) : undefined;
    },
    take,
  };
}
