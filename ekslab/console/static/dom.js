// Elements, made of text nodes only: no text of the lab is ever read as markup.

// Characters that would reorder or hide what is beside them, or that nothing shows: shown by their code.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

export const visible = text =>
    String(text).replace(UNSEEN, c => (c === '\r' ? '' : `‹U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}›`));

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes ?? {})) {
        if (value === undefined || value === null || value === false) continue;
        if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
        else if (name === 'style') Object.assign(element.style, value);
        else if (name === 'value' || name === 'checked') element[name] = value;
        else element.setAttribute(name, value === true ? '' : value);
    }
    for (const child of children.flat(Infinity)) {
        if (child === undefined || child === null || child === false) continue;
        element.append(child instanceof Node ? child : document.createTextNode(visible(child)));
    }
    return element;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

export const pad = (number, width = 2) => String(number).padStart(width, '0');

// A time in ms as UTC.
export function clock(ms, date = false) {
    if (!ms) return '–';
    const text = new Date(ms).toISOString();
    return date ? `${text.slice(0, 10)} ${text.slice(11, 23)}` : text.slice(11, 23);
}

export function ago(ms, now = Date.now()) {
    if (!ms) return 'never';
    const seconds = Math.max(0, Math.round((now - ms) / 1000));
    if (seconds < 2) return 'now';
    if (seconds < 60) return `${seconds} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    return `${Math.floor(seconds / 86400)} d ago`;
}

export const count = number => (number === null || number === undefined ? '–' : number.toLocaleString('en-US'));

export function bytes(number) {
    const units = ['B', 'KB', 'MB', 'GB'];
    let unit = 0;
    while (number >= 1000 && unit < 3) {
        number /= 1000;
        unit += 1;
    }
    return `${number.toFixed(unit && number < 10 ? 1 : 0)} ${units[unit]}`;
}

const slug = text => String(text).toLowerCase().replace(/[^a-z]+/g, '-');
export const badge = (text, kind) => h('span', { class: `badge ${kind ?? 'p'}-${slug(text)}` }, text || '–');

export const button = (label, onclick, attributes) => h('button', { type: 'button', onclick, ...attributes }, label);

export function replace(element, ...children) {
    element.replaceChildren();
    return fill(element, null, children);
}
