export {
  type AddressHeaders,
  type AddressOptions,
  type AddressProblem,
  isAddressProblem,
  isLabel,
  parseAddress,
  type SandboxAddress,
} from './address.ts';
