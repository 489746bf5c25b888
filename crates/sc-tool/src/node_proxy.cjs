'use strict';
// Written by `sc-tool run` and `sc-tool env`, loaded through NODE_OPTIONS: sends what this Node asks for by HTTP through
// the little network. Newer versions (22.21, 24.5) read the variables by themselves and do not need it.
(() => {
  if (process.env.SHIMMERCAT === '0' || process.allowedNodeEnvironmentFlags.has('--use-env-proxy')) return;
  const text = process.env.HTTPS_PROXY || process.env.https_proxy;
  if (!text) return;
  const net = require('node:net'), tls = require('node:tls');
  const proxy = new URL(text);
  const direct = new Set((process.env.NO_PROXY || '').split(',').map((name) => name.trim()).filter(Boolean));
  const bare = (host) => String(host).replace(/^\[|\]$/g, '');

  // Calls done(error, socket) with a plain connection to host:port, through CONNECT unless the host is a direct one.
  function reach(host, port, done) {
    if (direct.has(host)) {
      const socket = net.connect({ host, port });
      return socket.once('error', done).once('connect', () => done(null, socket));
    }
    const socket = net.connect({ host: bare(proxy.hostname), port: proxy.port });
    const fail = (error) => { socket.destroy(); done(error); };
    const cut = () => fail(new Error(`the proxy ${proxy.host} hung up`));
    const authority = `${net.isIPv6(host) ? `[${host}]` : host}:${port}`;
    socket.once('error', fail).once('end', cut);
    socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    let head = Buffer.alloc(0);
    socket.on('readable', function read() {
      for (let chunk; (chunk = socket.read()) !== null;) {
        head = Buffer.concat([head, chunk]);
        const end = head.indexOf('\r\n\r\n');
        if (end < 0 && head.length > 16384) return fail(new Error(`the proxy ${proxy.host} does not speak HTTP`));
        if (end < 0) continue;
        socket.off('readable', read).off('error', fail).off('end', cut);
        const status = head.toString('latin1', 9, 12);
        if (status !== '200') return fail(new Error(`the proxy ${proxy.host} refused ${authority} (${status})`));
        if (head.length > end + 4) socket.unshift(head.subarray(end + 4));
        return done(null, socket);
      }
    });
  }

  function open(options, secure, tlsOptions, finish) {
    let isDone = false;
    const done = (error, socket) => { if (!isDone) { isDone = true; finish(error, socket); } };
    const host = bare(options.hostname || options.host || 'localhost');
    reach(host, Number(options.port) || (secure ? 443 : 80), (error, socket) => {
      if (error || !secure) return done(error, socket);
      const name = options.servername || host;
      const servername = net.isIP(name) ? '' : name;
      const over = tls.connect({ ALPNProtocols: ['http/1.1'], ...tlsOptions, socket, servername });
      over.once('error', done).once('secureConnect', () => done(null, over));
    });
  }

  // require('http') and require('https'), and what is built on their agents
  const through = (Agent, secure) => class extends Agent {
    createConnection(options, done) {
      if (options.socketPath) return super.createConnection(options, done);
      open(options, secure, options, done);
    }
  };
  const http = require('node:http'), https = require('node:https');
  http.globalAgent = new (through(http.Agent, false))({ keepAlive: true, timeout: 5000 });
  https.globalAgent = new (through(https.Agent, true))({ keepAlive: true, timeout: 5000 });

  // fetch: its dispatcher exists only after the first use, so it is exchanged then
  const fetch = globalThis.fetch;
  if (!fetch) return;
  globalThis.fetch = function (...args) {
    globalThis.fetch = fetch;
    const key = Symbol.for('undici.globalDispatcher.1');
    new Request('http://localhost/');
    const Agent = globalThis[key]?.constructor;
    if (Agent) {
      globalThis[key] = new Agent({ connect: (options, done) => open(options, options.protocol === 'https:', {}, done) });
    }
    return fetch.apply(this, args);
  };
})();
