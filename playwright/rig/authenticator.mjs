// A device with passkeys, as Chromium plays one (the WebAuthn domain of its DevTools protocol).

/** One for a page; it is touched and verifies at once, as long as nothing else is said. */
export async function startAuthenticator(context, page) {
  const devtools = await context.newCDPSession(page);
  await devtools.send('WebAuthn.enable');
  const options = {
    protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true,
    automaticPresenceSimulation: true,
  };
  const { authenticatorId } = await devtools.send('WebAuthn.addVirtualAuthenticator', { options });
  const ask = (method, asked = {}) => devtools.send(`WebAuthn.${method}`, { authenticatorId, ...asked });
  return {
    /** Whether whoever holds it can be verified. */
    setVerified: (isUserVerified) => ask('setUserVerified', { isUserVerified }),
    credentials: async () => (await ask('getCredentials')).credentials,
    /** Puts a copy of another's passkey in. */
    put: (credential) => ask('addCredential', { credential }),
  };
}
