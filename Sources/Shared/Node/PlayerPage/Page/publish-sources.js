// What can be published: a camera with a microphone, a screen, or a picture and a tone that are made here.

const failures = {
    NotAllowedError: "The browser does not allow this. It can be allowed in its settings for this page.",
    NotFoundError: "There is no such device.",
    NotReadableError: "The device is in use by another program.",
    OverconstrainedError: "The device has no such picture.",
};

async function ask(request) {
    try {
        return await request();
    } catch (error) {
        throw new Error(failures[error.name] ?? error.message);
    }
}

function devices() {
    // Browsers hide devices from pages that did not come over TLS or from this machine.
    if (navigator.mediaDevices) return navigator.mediaDevices;
    throw new Error("Cameras and screens need a page that came over HTTPS, or from localhost.");
}

/** A camera with a microphone; the one or the other alone if that is all there is. */
async function openCamera({ width, height, frameRate, camera, microphone }) {
    const video = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: frameRate } };
    if (camera) video.deviceId = { exact: camera };
    const audio = microphone ? { deviceId: { exact: microphone } } : true;
    const media = devices();
    try {
        return await media.getUserMedia({ video, audio });
    } catch (error) {
        if (error.name !== "NotFoundError") throw new Error(failures[error.name] ?? error.message);
    }
    return ask(() => media.getUserMedia({ video }).catch(() => media.getUserMedia({ audio })));
}

async function openScreen({ frameRate }) {
    const media = devices();
    if (!media.getDisplayMedia) throw new Error("This browser cannot share a screen.");
    return ask(() => media.getDisplayMedia({ video: { frameRate: { ideal: frameRate } }, audio: true }));
}

const colours = ["#c8ccd0", "#c4b72b", "#2bb3b8", "#35a845", "#b03bb0", "#bb3a34", "#2f49b5"];

/** Bars, the time of day and a square that moves, so that a viewer sees delay and dropped frames. */
function drawTest(context, frame) {
    const { width, height } = context.canvas;
    colours.forEach((colour, index) => {
        context.fillStyle = colour;
        context.fillRect(Math.floor(index * width / 7), 0, Math.ceil(width / 7), height * 0.6);
    });
    context.fillStyle = "#10151b";
    context.fillRect(0, height * 0.6, width, height * 0.4);
    const size = height * 0.12;
    const seconds = performance.now() / 1000;
    context.fillStyle = "#fff";
    context.fillRect((Math.sin(seconds) + 1) / 2 * (width - size), height * 0.44, size, size);
    const now = new Date();
    const two = (value) => String(value).padStart(2, "0");
    const clock = `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
    const millis = String(now.getMilliseconds()).padStart(3, "0");
    context.textBaseline = "middle";
    context.textAlign = "center";
    context.font = `600 ${Math.round(height * 0.14)}px ui-monospace, monospace`;
    context.fillText(`${clock}.${millis}`, width / 2, height * 0.74);
    context.font = `${Math.round(height * 0.06)}px ui-monospace, monospace`;
    context.fillText(`frame ${frame}`, width / 2, height * 0.9);
}

/** A tone with a beep at each full second. */
function makeTone() {
    const context = new AudioContext();
    const out = context.createMediaStreamDestination();
    const tone = context.createOscillator();
    const level = context.createGain();
    tone.frequency.value = 440;
    level.gain.value = 0.03;
    tone.connect(level).connect(out);
    tone.start();
    const timer = setInterval(() => {
        const at = context.currentTime + (1000 - Date.now() % 1000) / 1000;
        tone.frequency.setValueAtTime(880, at);
        tone.frequency.setValueAtTime(440, at + 0.1);
    }, 1000);
    const [track] = out.stream.getAudioTracks();
    return { track, stop: () => { clearInterval(timer); context.close(); } };
}

function openTest({ width, height, frameRate }) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d", { alpha: false });
    let frame = 0;
    const draw = () => {
        frame += 1;
        drawTest(context, frame);
    };
    draw();
    const timer = setInterval(draw, 1000 / frameRate);
    const stream = canvas.captureStream(frameRate);
    const tone = makeTone();
    stream.addTrack(tone.track);
    const release = () => {
        clearInterval(timer);
        tone.stop();
    };
    return { stream, release };
}

/** Opens a source by its name, as `{stream, stop()}`. */
export async function openSource(name, options) {
    const opened = name === "test" ? openTest(options)
        : { stream: await (name === "screen" ? openScreen(options) : openCamera(options)) };
    const { stream, release } = opened;
    for (const track of stream.getVideoTracks()) track.contentHint = name === "screen" ? "detail" : "motion";
    return {
        stream,
        stop() {
            release?.();
            for (const track of stream.getTracks()) track.stop();
        },
    };
}

/** The cameras and microphones, once the browser tells their names. */
export async function listDevices() {
    const found = await navigator.mediaDevices?.enumerateDevices?.() ?? [];
    const named = found.filter(({ label, deviceId }) => label && deviceId);
    return {
        cameras: named.filter(({ kind }) => kind === "videoinput"),
        microphones: named.filter(({ kind }) => kind === "audioinput"),
    };
}
