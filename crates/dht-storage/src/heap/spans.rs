//! The life of a span: opened for a class, listed while it has room, closed when it is empty.

use super::{
    Class, Full, Heap,
    region::{Region, SpanId},
};

impl Heap {
    /// Makes a span for a class that has none with room, in the lowest free place.
    pub(super) fn open_span(&mut self, class: Class) -> Result<SpanId, Full> {
        let regions = self.regions.iter_mut().enumerate();
        let found = regions
            .filter_map(|(at, region)| Some((at, region.as_mut()?.open_span(class)?)))
            .next();
        let (region, head) = match found {
            Some(found) => found,
            None => {
                let at = self.map_region()?;
                (at, self.region_mut(at).open_span(class).expect("a new region has room"))
            }
        };
        let id = SpanId::new(region, head);
        self.list(id, class);
        Ok(id)
    }

    fn map_region(&mut self) -> Result<usize, Full> {
        let at = match self.regions.iter().position(Option::is_none) {
            Some(at) => at,
            None if self.regions.len() < self.regions_max => {
                self.regions.push(None);
                self.regions.len() - 1
            }
            None => return Err(Full),
        };
        self.regions[at] = Some(Region::map().ok_or(Full)?);
        Ok(at)
    }

    /// The last slot of a span was freed: the span kept until now goes, this one is kept instead.
    pub(super) fn on_empty(&mut self, id: SpanId) {
        let span = self.span_mut(id);
        if !span.class.is_index() {
            let touched = u64::from(span.bump * span.class.shape().slot_bytes);
            self.in_use.touched_bytes -= touched;
        }
        let span = self.span_mut(id);
        (span.bump, span.freed) = (0, None); // Address order again.
        if span.is_victim {
            self.close_span(id);
        } else if let Some(before) = self.idle.replace(id) {
            self.close_span(before);
        }
        if self.in_use.slots == 0
            && let Some(last) = self.idle.take()
        {
            self.close_span(last);
        }
    }

    fn close_span(&mut self, id: SpanId) {
        let span = *self.span(id);
        if !span.is_victim {
            self.unlist(id, span.class);
        }
        let region = self.region_mut(id.region());
        region.close_span(id.block());
        if region.is_free() {
            self.regions[id.region()] = None;
            while self.regions.last().is_some_and(Option::is_none) {
                self.regions.pop();
            }
        }
    }

    /// Puts a span in front of its class's list of those with room.
    pub(super) fn list(&mut self, id: SpanId, class: Class) {
        let after = self.rooms[class.number()].replace(id);
        let span = self.span_mut(id);
        (span.before, span.after) = (None, after);
        if let Some(after) = after {
            self.span_mut(after).before = Some(id);
        }
    }

    pub(super) fn unlist(&mut self, id: SpanId, class: Class) {
        let span = self.span(id);
        let (before, after) = (span.before, span.after);
        match before {
            Some(before) => self.span_mut(before).after = after,
            None => self.rooms[class.number()] = after,
        }
        if let Some(after) = after {
            self.span_mut(after).before = before;
        }
    }
}
