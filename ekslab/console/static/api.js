// Requests to the console's server. The key that they need comes in the address, and stays in this origin's storage.

// Addresses are relative: where the console is reached through a Jupyter server, its page isn't the root of its origin.
const PLACE = `key ${location.pathname}`;
let key = '';

export function takeKey() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const given = asked.get('key');
    try {
        if (given) localStorage.setItem(PLACE, given);
        key = given ?? localStorage.getItem(PLACE) ?? '';
    } catch {
        key = given ?? key; // storage is switched off
    }
    if (given || location.hash === '#used') history.replaceState(null, '', `#/${asked.get('view') ?? ''}`);
}

export const secret = () => key;

// A Jupyter server that the page is reached through wants its own token, too.
const headers = () => {
    const [, token] = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie) ?? [];
    return { 'X-Console-Key': key, ...(token && { 'X-XSRFToken': token }) };
};

export class Refused extends Error {
    constructor(status, message) {
        super(message);
        this.status = status;
    }
}

const query = parameters => {
    const given = Object.entries(parameters ?? {}).filter(([, value]) => value !== undefined && value !== '' && value !== null);
    return given.length ? `?${new URLSearchParams(given)}` : '';
};

async function answer(path, parameters, signal) {
    let response;
    try {
        response = await fetch(`api/${path}${query(parameters)}`, { headers: headers(), signal });
    } catch (error) {
        if (error.name === 'AbortError') throw error;
        throw new Refused(0, 'The lab does not answer.');
    }
    if (response.ok) return response;
    const text = await response.text();
    let message = text;
    try {
        const said = JSON.parse(text);
        message = said.code ? `${said.code}: ${said.message}` : said.message;
    } catch { /* it is plain text */ }
    if (response.status === 401) document.dispatchEvent(new CustomEvent('locked'));
    throw new Refused(response.status, message || response.statusText);
}

export const get = async (view, parameters, signal) => (await answer(view, parameters, signal)).json();
export const picture = async (parameters, signal) => URL.createObjectURL(await (await answer('image', parameters, signal)).blob());

// Server-sent events until `signal` ends them. `on(kind, content)`; throws when the connection ends.
export async function stream(path, parameters, on, signal) {
    const silence = new AbortController();
    const either = AbortSignal.any([signal, silence.signal]);
    const response = await answer(path, parameters, either);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let pending = '';
    let timer;
    const alive = () => {
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), 12_000); // the server says something every five seconds
    };
    try {
        for (;;) {
            alive();
            const { value, done } = await reader.read();
            if (done) return;
            pending += value;
            const messages = pending.split('\n\n');
            pending = messages.pop();
            for (const message of messages) {
                const match = /^event: (\S+)\ndata: ([^]*)$/.exec(message);
                if (match) on(match[1], JSON.parse(match[2]));
            }
        }
    } finally {
        clearTimeout(timer);
    }
}
