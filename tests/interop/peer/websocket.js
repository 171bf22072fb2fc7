'use strict';
// A minimal RFC 6455 client and server over net: binary and text messages, ping, close, fragments.
const net = require('net');
const crypto = require('crypto');
const { EventEmitter } = require('events');

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const SUBPROTOCOL = 'reliable-ws.v1';
const HEAD_LIMIT = 16384;

const acceptKey = (key) => crypto.createHash('sha1').update(key + GUID).digest('base64');

// Events: open, message (Buffer, isText), close (code: 1006 if there was no close frame).
class WebSocket extends EventEmitter {
  constructor(socket, { client, maxMessage }) {
    super();
    Object.assign(this, { socket, client, maxMessage });
    this.state = 'connecting';
    this.buffer = Buffer.alloc(0);
    this.fragments = [];
    this.size = 0;
    this.closeCode = 1006;
    this.sentClose = false;
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('data', (chunk) => this.onData(chunk));
    socket.on('end', () => socket.end());
    socket.on('close', () => {
      clearTimeout(this.closeTimer);
      if (this.state === 'closed') return;
      this.state = 'closed';
      this.emit('close', this.closeCode);
    });
  }

  begin(rest) {
    this.state = 'open';
    this.emit('open');
    if (rest.length) this.onData(rest);
  }

  onData(chunk) {
    if (this.state === 'closed' || this.failed) return;
    this.buffer = this.buffer.length ? Buffer.concat([this.buffer, chunk]) : chunk;
    if (this.state === 'connecting') {
      const end = this.buffer.indexOf('\r\n\r\n');
      if (end < 0) {
        if (this.buffer.length > HEAD_LIMIT) this.terminate();
        return;
      }
      const head = this.buffer.subarray(0, end).toString('latin1').split('\r\n');
      const rest = this.buffer.subarray(end + 4);
      this.buffer = Buffer.alloc(0);
      const headers = {};
      for (const line of head.slice(1)) {
        const colon = line.indexOf(':');
        headers[line.slice(0, colon).trim().toLowerCase()] = line.slice(colon + 1).trim();
      }
      if (this.handshake(head[0], headers)) this.begin(rest);
      return;
    }
    while (this.state === 'open' && !this.failed && this.frame());
  }

  // Takes one frame out of the buffer; false if there is no whole one.
  frame() {
    const b = this.buffer;
    if (b.length < 2) return false;
    const fin = b[0] & 0x80;
    const opcode = b[0] & 0x0f;
    const masked = Boolean(b[1] & 0x80);
    let length = b[1] & 0x7f;
    let at = 2;
    if ((b[0] & 0x70) || masked === this.client) return this.fail(1002);
    if (opcode >= 8 && (!fin || length > 125)) return this.fail(1002);
    if (length === 126) {
      if (b.length < 4) return false;
      length = b.readUInt16BE(2);
      at = 4;
    } else if (length === 127) {
      if (b.length < 10) return false;
      length = Number(b.readBigUInt64BE(2));
      at = 10;
    }
    if (opcode < 8 && this.size + length > this.maxMessage) return this.fail(1009);
    if (b.length < at + (masked ? 4 : 0) + length) return false;
    const mask = masked ? b.subarray(at, at + 4) : null;
    if (masked) at += 4;
    const data = Buffer.from(b.subarray(at, at + length));
    if (mask) for (let i = 0; i < data.length; i++) data[i] ^= mask[i & 3];
    this.buffer = b.subarray(at + length);
    if (opcode >= 8) return this.control(opcode, data);
    if ((opcode === 0) !== (this.opcode !== undefined) || opcode > 2) return this.fail(1002);
    if (opcode) this.opcode = opcode;
    this.fragments.push(data);
    this.size += length;
    if (fin) {
      const message = this.fragments.length === 1 ? data : Buffer.concat(this.fragments);
      const text = this.opcode === 1;
      this.fragments = [];
      this.size = 0;
      this.opcode = undefined;
      this.emit('message', message, text);
    }
    return true;
  }

  control(opcode, data) {
    if (opcode === 9) this.write(10, data);
    else if (opcode === 8) {
      this.closeCode = data.length >= 2 ? data.readUInt16BE(0) : 1005;
      if (!this.sentClose) this.write(8, data.subarray(0, 2));
      this.sentClose = true;
      if (this.client) this.closeTimer = setTimeout(() => this.terminate(), 1000);
      else this.socket.end();
      this.failed = true; // nothing behind a close frame is looked at
      return false;
    } else if (opcode !== 10) return this.fail(1002);
    return true;
  }

  fail(code) {
    this.close(code);
    this.failed = true;
    return false;
  }

  write(opcode, data) {
    if (this.state !== 'open' || this.socket.destroyed) return;
    const n = data.length;
    const size = n < 126 ? 2 : n < 65536 ? 4 : 10;
    const head = Buffer.alloc(size + (this.client ? 4 : 0));
    head[0] = 0x80 | opcode;
    head[1] = (this.client ? 0x80 : 0) | (n < 126 ? n : n < 65536 ? 126 : 127);
    if (size === 4) head.writeUInt16BE(n, 2);
    if (size === 10) head.writeBigUInt64BE(BigInt(n), 2);
    if (this.client) {
      const mask = crypto.randomBytes(4);
      mask.copy(head, size);
      data = Buffer.from(data);
      for (let i = 0; i < n; i++) data[i] ^= mask[i & 3];
    }
    this.socket.write(Buffer.concat([head, data]));
  }

  send(data) { if (!this.sentClose) this.write(2, data); }

  close(code = 1000) {
    if (this.state === 'connecting') this.terminate();
    if (this.sentClose || this.state === 'closed') return;
    const data = Buffer.alloc(2);
    data.writeUInt16BE(code);
    this.write(8, data);
    this.sentClose = true;
    this.closeTimer = setTimeout(() => this.terminate(), 2000);
  }

  // The hard way: a reset, no close frame.
  terminate() { this.failed = true; this.socket.resetAndDestroy(); }
}

function connect(uri, maxMessage) {
  const url = new URL(uri);
  if (url.protocol !== 'ws:') throw new Error('only ws: URIs');
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const socket = net.connect({ host, port: Number(url.port || 80) });
  const ws = new WebSocket(socket, { client: true, maxMessage });
  const key = crypto.randomBytes(16).toString('base64');
  socket.on('connect', () => socket.write([
    `GET ${url.pathname}${url.search} HTTP/1.1`, `Host: ${url.host}`, 'Upgrade: websocket',
    'Connection: Upgrade', `Sec-WebSocket-Key: ${key}`, 'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`, '', ''].join('\r\n')));
  ws.handshake = (status, headers) => {
    const good = / 101 /.test(`${status} `) && headers['sec-websocket-accept'] === acceptKey(key);
    if (!good) ws.terminate();
    return good;
  };
  return ws;
}

function serve(port, maxMessage, onSocket) {
  const server = net.createServer((socket) => {
    const ws = new WebSocket(socket, { client: false, maxMessage });
    ws.handshake = (request, headers) => {
      const key = headers['sec-websocket-key'];
      if (!/^GET .* HTTP\/1\.1$/.test(request) || !key || !/websocket/i.test(headers.upgrade || '')) {
        socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
        return false;
      }
      const offered = (headers['sec-websocket-protocol'] || '').split(',').map((s) => s.trim());
      socket.write(['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade',
        `Sec-WebSocket-Accept: ${acceptKey(key)}`,
        ...(offered.includes(SUBPROTOCOL) ? [`Sec-WebSocket-Protocol: ${SUBPROTOCOL}`] : []),
        '', ''].join('\r\n'));
      onSocket(ws);
      return true;
    };
  });
  server.listen(port, '127.0.0.1');
  return server;
}

module.exports = { connect, serve };
