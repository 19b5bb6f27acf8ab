import { type BadRequest, MAPS } from './request.ts';

/** Callers that are nobody, or would be somebody else. */
export const callers: BadRequest[] = [
  {
    name: 'no credential',
    method: 'GET',
    path: MAPS,
    headers: { authorization: '' },
    status: 401,
    reason: 'Unauthorized',
    message: /Unauthorized/,
  },
  {
    name: 'a wrong credential',
    method: 'DELETE',
    path: `${MAPS}/good`,
    headers: { authorization: 'Bearer wrong' },
    status: 401,
    reason: 'Unauthorized',
    message: /Unauthorized/,
  },
  {
    name: 'a credential of another kind',
    method: 'GET',
    path: MAPS,
    headers: { authorization: 'Basic YTpi' },
    status: 401,
    reason: 'Unauthorized',
    message: /Unauthorized/,
  },
  {
    name: 'a Host that a web page made point here',
    method: 'GET',
    path: MAPS,
    headers: { host: 'rebound.example.com' },
    status: 403,
    reason: 'Forbidden',
    message: /rebound\.example\.com.*does not go by that name/,
  },
  {
    name: 'a caller who wants to be somebody else',
    method: 'GET',
    path: MAPS,
    headers: { 'impersonate-user': 'root' },
    status: 403,
    reason: 'Forbidden',
    message: /impersonat/i,
  },
];
