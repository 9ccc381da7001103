// Parts that several views have: the head of a view, the command by hand, what is opened at the side, an alert's card.
import { badge, button, clock, h, replace } from './dom.js';
import { get } from './api.js';

export const params = () => new URLSearchParams(location.hash.split('?')[1] ?? '');
export const link = (view, parameters) => {
    const given = Object.entries(parameters ?? {}).filter(([, value]) => value);
    return `#/${view}${given.length ? `?${new URLSearchParams(given)}` : ''}`;
};
export const go = (view, parameters) => { location.hash = link(view, parameters).slice(1); };

export const failure = error => h('p', { class: 'failure', role: 'alert' }, error.message);

export function say(text) {
    replace(document.getElementById('status'), text);
}

async function copy(text) {
    try {
        await navigator.clipboard.writeText(text);
    } catch { // a frame may not have the permission
        const area = h('textarea', { class: 'offscreen', value: text });
        document.body.append(area);
        area.select();
        document.execCommand('copy');
        area.remove();
    }
    say('Copied.');
}

export const copied = (text, label = 'Copy') => {
    const made = button(label, async () => {
        await copy(text());
        replace(made, 'Copied');
        setTimeout(() => replace(made, label), 1500);
    }, { class: 'small' });
    return made;
};

// "The same by hand": the command, one click away. `set` gives it.
export class Hand {
    constructor() {
        this.text = '';
        this.code = h('code', { tabindex: '0' });
        this.box = h('div', { class: 'hand-box', hidden: true }, h('pre', null, this.code), copied(() => this.text));
        this.button = button('The same by hand', () => this.toggle(), { class: 'quiet', 'aria-expanded': 'false' });
        this.element = h('div', { class: 'hand' }, this.button);
    }

    toggle() {
        this.box.hidden = !this.box.hidden;
        this.button.setAttribute('aria-expanded', String(!this.box.hidden));
    }

    set(text) {
        this.text = text ?? '';
        replace(this.code, this.text);
    }
}

// The head of a view, with its place as AWS's console or kubectl has it, and buttons.
export function head(place, title, hand, ...tools) {
    return [
        h('div', { class: 'head' },
            h('div', null, h('p', { class: 'place' }, place), h('h1', null, title)),
            h('div', { class: 'tools' }, tools, hand?.element)),
        hand?.box,
    ];
}

const drawer = () => document.getElementById('drawer');
let before = null;
let opened = 0;

// Returns a number of its own, by which it is known whether something else was opened meanwhile.
export function openDrawer(title, ...children) {
    drawer().dataset.opened = String(++opened);
    if (drawer().hidden) before = document.activeElement;
    drawer().hidden = false;
    document.body.classList.add('with-drawer');
    replace(drawer(),
        h('div', { class: 'drawer-head' }, h('h2', null, title),
            button('✕', closeDrawer, { class: 'quiet', 'aria-label': 'Close' })),
        h('div', { class: 'drawer-body' }, children));
    return drawer().dataset.opened;
}

export function closeDrawer() {
    if (drawer().hidden) return;
    drawer().hidden = true;
    document.body.classList.remove('with-drawer');
    before?.focus?.();
}

const LONG = 20_000;

// A long text is shown in part until the rest is asked for: a page with a line of a megabyte stays quick.
export function longText(text) {
    const pre = h('pre', { class: 'text', tabindex: '0' }, text.length > LONG ? text.slice(0, LONG) : text);
    if (text.length <= LONG) return pre;
    const more = button(`Show all ${text.length.toLocaleString('en-US')} characters`, () => {
        replace(pre, text);
        more.remove();
    });
    return [pre, more];
}

// An alert as the notebook's card has it: the same fields in the same order.
export function card(of) {
    return h('article', { class: `card edge-${String(of.priority).toLowerCase()}` },
        h('div', null, badge(of.priority), h('strong', { class: 'card-rule' }, of.rule)),
        h('div', { class: 'card-facts' }, of.facts.map(fact => h('span', null, fact))),
        h('div', { class: 'card-output' }, h('b', null, of.output), h('span', { class: 'faint' }, of.more)),
        h('div', { class: 'card-groups' }, of.sections.map(([title, rows]) =>
            h('section', { class: title.startsWith('missing') && 'wide' }, h('h3', null, title),
                h('dl', null, rows.map(([name, value, note]) => [
                    h('dt', null, name),
                    h('dd', null, value && h('span', { class: 'mono' }, value), note && h('i', null, value ? ` ${note}` : note)),
                ]))))));
}

const json = text => {
    try {
        return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
        return text;
    }
};

// A log event at the side: an alert as its card, any event as its text. `asked` is what the view `event` takes.
export async function openEvent(asked, title, finding) {
    let mine = openDrawer(title, h('p', { class: 'faint' }, 'Reading …'));
    let found;
    for (let turn = 0; !found; turn += 1) {
        try {
            found = await get('event', asked);
        } catch (error) {
            const gone = drawer().hidden || drawer().dataset.opened !== mine;
            if (gone) return;
            if (error.status !== 404 || asked.id || turn > 20) {
                openDrawer(title, failure(error));
                return;
            }
            // An alert that Falco has just written is on its way.
            if (!turn) mine = openDrawer(title, h('p', { class: 'faint' }, 'It is not in the log group yet …'));
            await new Promise(done => setTimeout(done, 500));
        }
    }
    if (drawer().hidden || drawer().dataset.opened !== mine) return;
    const hand = new Hand();
    hand.set(found.hand);
    hand.toggle();
    const { row } = found;
    openDrawer(title,
        found.card && card(found.card),
        h('dl', { class: 'facts' },
            h('dt', null, 'Log group'), h('dd', null, h('a', { href: link('logs', { group: asked.group }) }, asked.group)),
            h('dt', null, 'Log stream'), h('dd', null, row.stream),
            h('dt', null, 'Timestamp'), h('dd', null, `${clock(row.timestamp, true)} UTC`),
            h('dt', null, 'Ingestion time'), h('dd', null, `${clock(row.ingestion, true)} UTC`),
            finding && [h('dt', null, 'Finding'), h('dd', null, h('a', { href: link('findings', { id: finding }) }, 'Security Hub'))]),
        h('h3', null, 'Message'), longText(json(found.message)), copied(() => found.message, 'Copy message'),
        h('h3', null, 'The same by hand'), hand.box);
}

export const PRIORITIES = ['Emergency', 'Alert', 'Critical', 'Error', 'Warning', 'Notice', 'Informational', 'Debug'];

export function field(label, input) {
    return h('label', { class: 'field' }, h('span', null, label), input);
}

export const select = (options, value, onchange) =>
    h('select', { onchange }, options.map(([id, text]) => h('option', { value: id, selected: id === value }, text)));
