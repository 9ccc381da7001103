// CloudWatch Logs: groups, streams, events with search, Live Tail, and Logs Insights.
import { badge, button, bytes, clock, count, h, replace } from './dom.js';
import { get, stream } from './api.js';
import { state } from './live.js';
import { List } from './list.js';
import { Hand, failure, field, go, head, link, openEvent, params, say, select } from './parts.js';
import { happened } from './pipeline.js';

const SPANS = [['900000', '15 minutes'], ['3600000', '1 hour'], ['10800000', '3 hours'], ['86400000', '1 day'], ['604800000', '1 week'], ['', 'Custom']];
const PATTERNS = ['{ $.priority = "Critical" }', '{ $.rule = "Terminal shell in container" }', '{ $.output_fields.k8s.pod.name = nginx* }', '"/etc/shadow"'];

const columns = [
    { name: 'Timestamp (UTC)', width: '9em', mono: true, cell: row => h('span', { title: clock(row.timestamp, true) }, clock(row.timestamp)) },
    { name: 'Priority', width: '7.5em', cell: row => (row.rule ? badge(row.priority) : '') },
    { name: 'Rule', width: 'minmax(10em, 1.4fr)', cell: row => row.rule ?? '' },
    { name: 'Pod', width: 'minmax(8em, 1fr)', cell: row => row.pod ?? '' },
    { name: 'Message', width: 'minmax(10em, 2.4fr)', mono: true, cell: row => row.message ?? row.command },
];

const openRow = group => row => openEvent({ group, timestamp: row.timestamp, id: row.id, stream: row.stream }, row.rule ?? 'Log event');

// The times that are asked for: the last so many ms, or from and to.
function times(start, end, onchange) {
    const custom = Boolean(start || end);
    const from = h('input', { type: 'datetime-local', step: '1', value: start ?? '', onchange, 'aria-label': 'From (UTC)' });
    const to = h('input', { type: 'datetime-local', step: '1', value: end ?? '', onchange, 'aria-label': 'To (UTC)' });
    const range = h('span', { class: 'range', hidden: !custom }, from, ' – ', to, ' UTC');
    const span = select(SPANS, custom ? '' : '3600000', () => {
        range.hidden = span.value !== '';
        if (span.value) onchange();
    });
    return {
        element: [field('Time range', span), range],
        get: () => (span.value ? { start: Date.now() - Number(span.value) } : { start: from.value, end: to.value }),
    };
}

export async function logs(main, signal) {
    const group = params().get('group');
    if (group) await oneGroup(main, group, signal);
    else await groups(main, signal);
}

async function groups(main, signal) {
    const hand = new Hand();
    const list = new List({
        label: 'Log groups', empty: 'There are no log groups.', key: row => row.name, open: row => go('logs', { group: row.name }),
        columns: [
            { name: 'Log group', width: 'minmax(14em, 2fr)', cell: row => h('a', { href: link('logs', { group: row.name }) }, row.name) },
            { name: 'Log class', width: '1fr', cell: row => (row.class === 'STANDARD' ? 'Standard' : row.class) },
            { name: 'Retention', width: '1fr', cell: row => (row.retention ? `${row.retention} days` : 'Never expire') },
            { name: 'Metric filters', width: '1fr', right: true, cell: row => count(row.filters) },
            { name: 'Stored bytes', width: '1fr', right: true, cell: row => bytes(row.bytes) },
        ],
    });
    main.append(...head('CloudWatch › Logs', 'Log groups', hand, button('Refresh', () => load())), h('section', { class: 'panel grow' }, list.element));
    async function load() {
        const found = await get('groups', {}, signal);
        list.set(found.groups);
        hand.set(found.hand);
    }
    await load();
}

const TABS = [['streams', 'Log streams'], ['events', 'Search all events'], ['filters', 'Metric filters'], ['subscriptions', 'Subscription filters']];

async function oneGroup(main, group, signal) {
    const asked = params();
    const tab = asked.get('stream') ? 'events' : asked.get('tab') ?? 'events';
    const hand = new Hand();
    const tabs = h('div', { class: 'tabs', role: 'tablist' }, TABS.map(([id, name]) =>
        h('a', { role: 'tab', 'aria-selected': String(id === tab), href: link('logs', { group, tab: id }) }, name)));
    const body = h('section', { class: 'panel grow' });
    main.append(...head(['CloudWatch › ', h('a', { href: '#/logs' }, 'Log groups')], group, hand,
        button('Live Tail', () => go('tail', { group })), button('Logs Insights', () => go('insights', { group }))), tabs, body);
    if (tab === 'events') {
        events(body, group, asked.get('stream') ?? '', hand, signal);
        return;
    }
    const found = await get('streams', { group }, signal);
    hand.set(found.hand);
    const lists = {
        streams: [found.streams, [
            { name: 'Log stream', width: '2fr', cell: row => h('a', { href: link('logs', { group, stream: row.name }) }, row.name) },
            { name: 'Last event time (UTC)', width: '1fr', mono: true, cell: row => clock(row.last, true) },
        ], row => go('logs', { group, stream: row.name })],
        filters: [found.filters, [
            { name: 'Metric filter', width: '1fr', cell: row => row.name },
            { name: 'Metric', width: '1fr', cell: row => h('a', { href: link('metrics', { namespace: row.metrics[0]?.split(' / ')[0] }) }, row.metrics.join(', ')) },
            { name: 'Filter pattern', width: '2fr', mono: true, cell: row => h('a', { href: link('logs', { group, tab: 'events', pattern: row.pattern }) }, row.pattern || '(all events)') },
        ]],
        subscriptions: [found.subscriptions, [
            { name: 'Subscription filter', width: '1fr', cell: row => row.name },
            { name: 'Filter pattern', width: '1fr', mono: true, cell: row => row.pattern || '(all events)' },
            { name: 'Destination', width: '2fr', mono: true, cell: row => row.destination },
        ]],
    };
    const [rows, shown, open] = lists[tab];
    const list = new List({ label: tab, columns: shown, open, key: row => row.name });
    body.append(list.element);
    list.set(rows);
}

function events(body, group, streamName, hand, signal) {
    const asked = params();
    const pattern = h('input', { type: 'search', class: 'wide mono', placeholder: 'Filter pattern, e.g. { $.priority = "Critical" }', value: asked.get('pattern') ?? '',
        list: 'patterns', spellcheck: 'false', onkeydown: event => event.key === 'Enter' && load(), onchange: () => load() });
    const range = times(asked.get('start'), asked.get('end'), () => load());
    const told = h('span', { class: 'faint', role: 'status' });
    const wrong = h('div');
    const list = new List({ label: 'Log events', columns, open: openRow(group), key: row => row.id, empty: 'No log events match.' });
    body.append(h('div', { class: 'bar' }, field('Filter events', pattern), h('datalist', { id: 'patterns' }, PATTERNS.map(value => h('option', { value }))),
        range.element, streamName && h('span', { class: 'chip' }, `stream ${streamName}`), button('Search', () => load(), { class: 'primary' }), told), wrong, list.element);
    let turn = 0;
    async function load() {
        const mine = ++turn;
        replace(told, 'Searching …');
        replace(wrong);
        try {
            const found = await get('events', { group, stream: streamName, pattern: pattern.value, ...range.get() }, signal);
            if (mine !== turn) return;
            list.set(found.events);
            hand.set(found.hand);
            replace(told, found.more ? `the newest ${count(found.events.length)}; there are more` : `${count(found.events.length)} events, newest first`);
        } catch (error) {
            if (signal.aborted) return;
            list.set([]);
            replace(told);
            replace(wrong, failure(error));
        }
    }
    load();
}

export async function tail(main, signal) {
    const hand = new Hand();
    const found = await get('groups', {}, signal);
    const names = found.groups.map(group => group.name);
    const asked = params();
    const chosen = asked.get('group') ?? (names.includes(state.snapshot?.group) ? state.snapshot.group : names.at(-1));
    const group = select(names.map(name => [name, name]), chosen, () => begin());
    const pattern = h('input', { type: 'search', class: 'wide mono', placeholder: 'Filter pattern (optional)', value: asked.get('pattern') ?? '', spellcheck: 'false',
        onkeydown: event => event.key === 'Enter' && begin(), onchange: () => begin() });
    const told = h('span', { class: 'faint', role: 'status' });
    const wrong = h('div');
    let rows = [];
    let session = null;
    const list = new List({ label: 'Live Tail', columns, key: row => row.id + row.ingestion, open: row => openEvent(
        { group: group.value, timestamp: row.timestamp, key: row.key, id: row.id }, row.rule ?? 'Log event'),
    empty: 'Waiting for log events. New ones appear here within a second or two.' });
    const toggle = button('Stop', () => (session ? stop('Stopped.') : begin()));
    main.append(...head('CloudWatch › Logs', 'Live Tail', hand),
        h('section', { class: 'panel grow' }, h('div', { class: 'bar' }, field('Log group', group), field('Filter', pattern), toggle,
            button('Clear', () => { rows = []; list.set(rows); }), told), wrong, list.element));
    function stop(text) {
        session?.abort();
        session = null;
        replace(toggle, 'Start');
        replace(told, text);
    }
    async function begin() {
        session?.abort();
        const mine = session = new AbortController();
        signal.addEventListener('abort', () => mine.abort());
        replace(toggle, 'Stop');
        replace(wrong);
        replace(told, 'Connecting …');
        try {
            await stream('tail', { group: group.value, pattern: pattern.value }, (kind, content) => {
                if (kind === 'started') {
                    hand.set(content.hand);
                    replace(told, 'Tailing');
                } else if (kind === 'failed') replace(wrong, failure(content));
                else if (kind === 'stored') {
                    rows = [...content.events.reverse(), ...rows].slice(0, 10_000);
                    list.set(rows, { keep: true });
                    replace(told, `Tailing: ${count(rows.length)} events${content.sampled ? ' (sampled: more than 500 in a second)' : ''}`);
                }
            }, mine.signal);
            if (session === mine) stop('The session has ended.');
        } catch (error) {
            if (session === mine && !mine.signal.aborted) stop(error.message);
        }
    }
    if (names.length) begin();
}

const QUERIES = [
    ['The newest alerts', 'fields @timestamp, priority, rule, output_fields.proc.cmdline as command\n| filter ispresent(rule)\n| sort @timestamp desc\n| limit 100'],
    ['Alerts by rule', 'filter ispresent(rule)\n| stats count(*) as alerts by rule\n| sort alerts desc'],
    ['Alerts by pod', 'filter ispresent(rule)\n| stats count(*) as alerts by output_fields.k8s.pod.name as pod\n| sort alerts desc'],
    ['Alerts in five minutes', 'filter ispresent(rule)\n| stats count(*) as alerts by bin(5m)'],
];

export async function insights(main, signal) {
    const hand = new Hand();
    const found = await get('groups', {}, signal);
    const names = found.groups.map(group => group.name);
    const asked = params();
    const chosen = asked.get('group') ?? (names.includes(state.snapshot?.group) ? state.snapshot.group : names.at(-1));
    const group = select(names.map(name => [name, name]), chosen);
    const query = h('textarea', { class: 'mono query', rows: '6', spellcheck: 'false', 'aria-label': 'Query', value: asked.get('query') ?? QUERIES[0][1],
        onkeydown: event => event.key === 'Enter' && (event.ctrlKey || event.metaKey) && run() });
    const range = times(null, null, () => {});
    const told = h('span', { class: 'faint', role: 'status' });
    const result = h('div', { class: 'grow result' });
    const samples = select([['', 'Sample queries'], ...QUERIES.map(([name], index) => [String(index), name])], '', () => {
        if (samples.value) query.value = QUERIES[Number(samples.value)][1];
    });
    main.append(...head('CloudWatch › Logs', 'Logs Insights', hand),
        h('section', { class: 'panel grow' }, h('div', { class: 'bar' }, field('Log group', group), range.element, field('Query', samples)), query,
            h('div', { class: 'bar' }, button('Run query', () => run(), { class: 'primary', title: 'Ctrl+Enter' }), told), result));
    async function run() {
        replace(told, 'Running …');
        try {
            const answer = await get('insights', { group: group.value, query: query.value, ...range.get() }, signal);
            hand.set(answer.hand);
            const { recordsMatched, recordsScanned, bytesScanned } = answer.statistics;
            replace(told, `${answer.status}: ${count(answer.rows.length)} results of ${count(recordsMatched)} records matched, ${count(recordsScanned)} scanned (${bytes(bytesScanned ?? 0)})`);
            const list = new List({ label: 'Results', empty: 'No results.', key: row => row.number, columns: answer.columns.map(name => ({
                name, width: name === '@timestamp' ? '14em' : 'minmax(7em, 1fr)', mono: true, cell: row => row.cells[name] ?? '' })) });
            replace(result, list.element);
            list.set(answer.rows.map((cells, number) => ({ cells, number })));
        } catch (error) {
            if (signal.aborted) return;
            replace(told);
            replace(result, failure(error));
        }
    }
    if (names.length) run();
    else say('There are no log groups.');
}

