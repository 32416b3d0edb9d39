// The ceiling: a raw data channel between two pages' workers, transferred like ours, with the
// sender filling a window of a given size. `side` talks to the other page through the test.
const MESSAGE_BYTES = 64 * 1024;

const workerSource = `
  onmessage = ({ data: { channel, bytes, send, window } }) => {
    channel.binaryType = 'arraybuffer';
    if (send) {
      const message = new Uint8Array(${MESSAGE_BYTES});
      let left = bytes;
      const fill = () => {
        while (left > 0 && channel.bufferedAmount < window) {
          channel.send(message);
          left -= message.length;
        }
      };
      channel.bufferedAmountLowThreshold = window / 2;
      channel.onbufferedamountlow = fill;
      channel.onmessage = fill;
    } else {
      let received = 0;
      let begun;
      const begin = () => { begun = performance.now(); channel.send(new Uint8Array(1)); };
      channel.onmessage = ({ data }) => {
        received += data.byteLength;
        if (received >= bytes) postMessage(performance.now() - begun);
      };
      if (channel.readyState === 'open') begin();
      else channel.onopen = begin;
    }
  };
`;

window.rawSide = (bytes, send, windowBytes) => {
  const rtc = new RTCPeerConnection();
  const worker = new Worker(URL.createObjectURL(new Blob([workerSource])));
  const candidates = [];
  rtc.onicecandidate = ({ candidate }) => candidate && candidates.push(candidate.toJSON());
  const done = new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)));
  const hand = (channel) => worker.postMessage({ channel, bytes, send, window: windowBytes }, [channel]);
  rtc.ondatachannel = ({ channel }) => hand(channel);
  window.raw = {
    async offer() {
      hand(rtc.createDataChannel('raw'));
      await rtc.setLocalDescription();
      return rtc.localDescription.sdp;
    },
    async answer(sdp) {
      await rtc.setRemoteDescription({ type: 'offer', sdp });
      await rtc.setLocalDescription();
      return rtc.localDescription.sdp;
    },
    accept: (sdp) => rtc.setRemoteDescription({ type: 'answer', sdp }),
    candidates: () => candidates.splice(0),
    add: async (list) => {
      for (const one of list) await rtc.addIceCandidate(one);
    },
    millis: () => done,
    close() {
      rtc.close();
      worker.terminate();
    },
  };
};
