// A table that keeps only the rows in sight in the page: ten thousand scroll like ten.
import { h } from './dom.js';

const ROW = 30; // pixels
const SPARE = 12; // rows above and below what is in sight

// `columns`: {name, width (CSS grid), cell(row)}. `open(row)` is for a click or Enter.
export class List {
    constructor({ columns, label, open, empty = 'Nothing here yet.', key = row => row.key ?? row.id, rowClass }) {
        Object.assign(this, { columns, open, empty, key, rowClass, rows: [], chosen: -1 });
        this.shown = new Map();
        const template = columns.map(column => column.width ?? '1fr').join(' ');
        this.head = h('div', { class: 'list-head', role: 'row', style: { gridTemplateColumns: template } },
            columns.map(column => h('span', { role: 'columnheader', class: column.right && 'right' }, column.name)));
        this.space = h('div', { class: 'list-space', role: 'rowgroup' });
        this.none = h('p', { class: 'empty' }, empty);
        this.element = h('div', {
            class: 'list', role: 'grid', tabindex: '0', 'aria-label': label, onkeydown: event => this.keys(event),
            onscroll: () => this.draw(),
        }, this.head, this.space, this.none);
        this.template = template;
        new ResizeObserver(() => this.draw()).observe(this.element);
    }

    // Rows that are new at the top don't move what is being read.
    set(rows, { keep = false } = {}) {
        const box = this.element;
        const grown = keep && box.scrollTop > ROW ? rows.length - this.rows.length : 0;
        const before = this.chosen >= 0 ? this.key(this.rows[this.chosen]) : undefined;
        this.rows = rows;
        this.chosen = before === undefined ? -1 : rows.findIndex(row => this.key(row) === before);
        this.element.setAttribute('aria-rowcount', rows.length);
        this.space.style.height = `${rows.length * ROW}px`;
        this.none.hidden = rows.length > 0;
        this.head.hidden = rows.length === 0;
        for (const element of this.shown.values()) element.remove();
        this.shown.clear();
        if (grown > 0) box.scrollTop += grown * ROW;
        this.draw();
    }

    draw() {
        const top = Math.max(0, Math.floor(this.element.scrollTop / ROW) - SPARE);
        const end = Math.min(this.rows.length, Math.ceil((this.element.scrollTop + this.element.clientHeight) / ROW) + SPARE);
        for (const [index, element] of this.shown) {
            if (index < top || index >= end) {
                element.remove();
                this.shown.delete(index);
            }
        }
        for (let index = top; index < end; index += 1) {
            if (!this.shown.has(index)) {
                const element = this.row(index);
                this.shown.set(index, element);
                this.space.append(element);
            }
        }
    }

    row(index) {
        const row = this.rows[index];
        return h('div', {
            class: `list-row ${this.rowClass?.(row) ?? ''}${index === this.chosen ? ' chosen' : ''}${this.open ? ' opens' : ''}`,
            role: 'row', 'aria-rowindex': index + 1, 'aria-selected': index === this.chosen,
            style: { gridTemplateColumns: this.template, transform: `translateY(${index * ROW}px)` },
            onclick: () => {
                this.choose(index);
                this.open?.(row);
            },
        }, this.columns.map(column =>
            h('span', { role: 'gridcell', class: `${column.mono ? 'mono ' : ''}${column.right ? 'right' : ''}` }, column.cell(row))));
    }

    choose(index) {
        const before = this.shown.get(this.chosen);
        before?.classList.remove('chosen');
        before?.setAttribute('aria-selected', 'false');
        this.chosen = index;
        const now = this.shown.get(index);
        now?.classList.add('chosen');
        now?.setAttribute('aria-selected', 'true');
    }

    keys(event) {
        const page = Math.max(1, Math.floor(this.element.clientHeight / ROW) - 2);
        const to = { ArrowDown: this.chosen + 1, ArrowUp: this.chosen - 1, PageDown: this.chosen + page,
            PageUp: this.chosen - page, Home: 0, End: this.rows.length - 1 }[event.key];
        if (event.key === 'Enter' && this.chosen >= 0) this.open?.(this.rows[this.chosen]);
        else if (to !== undefined && this.rows.length) {
            const index = Math.min(Math.max(to, 0), this.rows.length - 1);
            const y = index * ROW;
            const room = this.element.clientHeight - ROW * 2;
            if (y < this.element.scrollTop) this.element.scrollTop = y;
            else if (y > this.element.scrollTop + room) this.element.scrollTop = y - room;
            this.draw();
            this.choose(index);
        } else return;
        event.preventDefault();
    }
}
