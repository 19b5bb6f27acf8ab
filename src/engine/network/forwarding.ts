import { readFileSync, writeFileSync } from 'node:fs';

const IPV4_FORWARDING = '/proc/sys/net/ipv4/ip_forward';

/**
 * Lets this machine hand packets on between its networks, which sandboxes that may reach something need. It is left on: other programs may have come to
 * rely on it meanwhile. @throws Error with what is to be done by hand
 */
export function enableForwarding(path = IPV4_FORWARDING): void {
  if (readFileSync(path, 'utf8').trim() === '1') return;
  try {
    writeFileSync(path, '1');
  } catch (error) {
    throw new Error(
      `IPv4 forwarding is off and can't be turned on (${(error as Error).message}), so sandboxes reach nothing outside: sysctl -w net.ipv4.ip_forward=1`,
    );
  }
}
