// The feed that all views share: the latest snapshot of the pipeline, the latest alerts, and whether the lab answers.
import { get, stream, takeKey } from './api.js';

const MOST = 1000;

export const state = { connected: null, snapshot: null, alerts: [], about: null };
const listeners = new Set();
const byKey = new Map();

export function listen(listener, signal) {
    listeners.add(listener);
    signal?.addEventListener('abort', () => listeners.delete(listener));
}

const tell = (kind, content) => listeners.forEach(listener => listener(kind, content));

function add(row, front) {
    const known = byKey.get(row.key);
    if (known) {
        Object.assign(known, row);
        return known;
    }
    byKey.set(row.key, row);
    if (front) state.alerts.unshift(row);
    else state.alerts.push(row);
    return row;
}

function receive(kind, content) {
    switch (kind) {
        case 'recent':
            for (const row of content) add(row, false);
            state.alerts.sort((a, b) => (a.time < b.time ? 1 : -1));
            break;
        case 'snapshot':
            state.snapshot = content;
            break;
        case 'alert':
            content = add(content, true);
            break;
        case 'stored':
            for (const row of content) {
                const known = byKey.get(row.key);
                if (known) Object.assign(known, { stored: row.ingestion, event: row });
            }
            break;
        case 'findings':
            for (const row of content) {
                const known = byKey.get(row.key);
                if (known) Object.assign(known, { found: row.found, finding: row.id });
            }
            break;
    }
    while (state.alerts.length > MOST) byKey.delete(state.alerts.pop().key);
    tell(kind, content);
}

function connected(value, why) {
    if (state.connected === value) return;
    state.connected = value;
    tell('connection', why);
}

let running = null;
let refused = false;

async function run(signal) {
    let wait = 300;
    while (!signal.aborted) {
        if (refused) takeKey(); // opened anew in another tab, it is open here, too
        try {
            const about = await get('about', {}, signal);
            if (state.about && state.about.id !== about.id) { // another lab: what was seen of the last one is gone
                state.alerts.length = 0;
                byKey.clear();
                tell('restarted');
            }
            if (refused) tell('restarted');
            refused = false;
            state.about = about;
            wait = 300;
            connected(true);
            await stream('feed', {}, receive, signal);
        } catch (error) {
            if (signal.aborted) return;
            refused = error.status === 401;
            connected(refused ? null : false, error.message);
        }
        await new Promise(done => setTimeout(done, wait));
        wait = Math.min(wait * 1.5, 3000);
    }
}

// A hidden page holds no connection: a browser has six for each server.
export function start() {
    const follow = () => {
        if (document.hidden) {
            running?.abort();
            running = null;
        } else if (!running) {
            running = new AbortController();
            run(running.signal);
        }
    };
    document.addEventListener('visibilitychange', follow);
    follow();
}
