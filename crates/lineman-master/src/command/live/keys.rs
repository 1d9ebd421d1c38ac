//! What the keys of the live view do. Pure.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::columns::{Column, Sorting};

/// How far the page keys go.
const PAGE: usize = 10;

/// What the keys have set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Controls {
    /// How the processes are sorted.
    pub(super) sorting: Sorting,
    /// How many processes are above the first that is shown.
    pub(super) scroll: usize,
    /// Whether the help is shown.
    pub(super) help: bool,
}

/// What becomes of the view after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// It is drawn again.
    Stay,
    /// It ends.
    Quit,
}

impl Controls {
    /// Does what a key asks for; a new size only wants a new picture.
    pub(super) fn take(&mut self, event: &Event) -> Wish {
        let Event::Key(key) = event else { return Wish::Stay };
        if key.kind == KeyEventKind::Release {
            return Wish::Stay;
        }
        if is_quit(key) {
            return Wish::Quit;
        }
        match key.code {
            KeyCode::Left => self.sort_by_neighbour(-1),
            KeyCode::Right => self.sort_by_neighbour(1),
            KeyCode::Char('r') => self.sorting.reversed = !self.sorting.reversed,
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Up => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down => self.scroll = self.scroll.saturating_add(1),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(PAGE),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(PAGE),
            KeyCode::Home => self.scroll = 0,
            KeyCode::End => self.scroll = usize::MAX,
            KeyCode::Char(letter) if is_plain(key) => self.sort_by_letter(letter),
            _ => {}
        }
        Wish::Stay
    }

    /// The letter of the column that is sorted by already turns the order round.
    fn sort_by_letter(&mut self, letter: char) {
        let Some(column) = Column::of_letter(letter) else { return };
        let reversed = column == self.sorting.column && !self.sorting.reversed;
        self.sorting = Sorting { column, reversed };
    }

    fn sort_by_neighbour(&mut self, steps: isize) {
        self.sorting = Sorting { column: self.sorting.column.neighbour(steps), reversed: false };
    }
}

/// A capital has `Shift`.
fn is_plain(key: &KeyEvent) -> bool {
    (key.modifiers - KeyModifiers::SHIFT).is_empty()
}

fn is_quit(key: &KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c' | 'd') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(controls: &mut Controls, code: KeyCode, modifiers: KeyModifiers) -> Wish {
        controls.take(&Event::Key(KeyEvent::new(code, modifiers)))
    }

    #[test]
    fn every_way_out_is_one() {
        let out = [
            (KeyCode::Char('q'), KeyModifiers::NONE),
            (KeyCode::Esc, KeyModifiers::NONE),
            (KeyCode::Char('c'), KeyModifiers::CONTROL),
        ];
        for (code, modifiers) in out {
            assert_eq!(press(&mut Controls::default(), code, modifiers), Wish::Quit);
        }
        let stays = press(&mut Controls::default(), KeyCode::Char('c'), KeyModifiers::NONE);
        assert_eq!(stays, Wish::Stay);
    }

    #[test]
    fn a_letter_sorts_by_its_column_and_again_the_other_way_round() {
        let mut controls = Controls::default();
        let mut after = |letter, modifiers| {
            press(&mut controls, KeyCode::Char(letter), modifiers);
            (controls.sorting.column, controls.sorting.reversed)
        };
        assert_eq!(after('m', KeyModifiers::NONE), (Column::Messages, false));
        assert_eq!(after('m', KeyModifiers::NONE), (Column::Messages, true));
        assert_eq!(after('M', KeyModifiers::SHIFT), (Column::Memory, false));
        assert_eq!(after('z', KeyModifiers::NONE), (Column::Memory, false), "no column's letter");
        assert_eq!(after('m', KeyModifiers::CONTROL), (Column::Memory, false), "Enter, to some");
        assert_eq!(after('s', KeyModifiers::NONE), (Column::Slot, false));
    }

    #[test]
    fn keys_sort_and_scroll() {
        let mut controls = Controls::default();
        for code in [KeyCode::Right, KeyCode::Char('r'), KeyCode::Down, KeyCode::Down, KeyCode::Up]
        {
            press(&mut controls, code, KeyModifiers::NONE);
        }
        let sorting = Sorting { column: Column::Pid, reversed: true };
        assert_eq!(controls, Controls { sorting, scroll: 1, help: false });
        press(&mut controls, KeyCode::Left, KeyModifiers::NONE);
        assert_eq!(controls.sorting, Sorting::default());
        press(&mut controls, KeyCode::Char('?'), KeyModifiers::NONE);
        assert!(controls.help);
    }
}
