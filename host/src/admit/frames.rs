//! From binary frames to drafts of events. Data is taken as it stands, without a look at it.

use super::draft::{Draft, Drafted, Place, TypeRef, When};
use super::parse::{tail_of_id, within};
use crate::core::frames::{EventFrame, FRAME_OVERHEAD_BYTES, Frame, FrameTime, Frames};
use crate::core::limits::Limits;
use crate::problem::Problem;
use bytes::Bytes;

/// The drafts in a body of frames. The body as a whole must be sound; the end of a feed's page says nothing here.
pub(super) fn read(body: &Bytes, limits: &Limits) -> Result<Vec<Drafted>, Problem> {
    let (mut drafts, mut events) = (Vec::new(), 0);
    for frame in Frames::new(body, limits.event_bytes_max.saturating_add(FRAME_OVERHEAD_BYTES)) {
        let Frame::Event(event) = frame.map_err(|fault| fault.problem())? else { continue };
        events += 1;
        if events <= limits.request_events_max {
            drafts.push(Ok(draft(body, &event, drafts.len())));
        }
    }
    within(events, limits.request_events_max)?;
    Ok(drafts)
}

fn draft(body: &Bytes, event: &EventFrame<'_>, at: usize) -> Draft {
    Draft {
        pointer: Place::Nth(at),
        type_ref: TypeRef::Number(event.type_number),
        version: event.version,
        when: match event.when {
            FrameTime::Now => When::Now,
            FrameTime::At(time) => When::At(time),
            FrameTime::Key(key) => When::Key(key),
        },
        tail: event.id.map(tail_of_id),
        id: event.id.map(str::to_owned),
        data: body.slice_ref(event.data),
        same_key_is_same_event: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{Dot, EventKey, Origin, Seq, ValidTime};
    use crate::core::frames::{EndFrame, HEAD, write};
    use crate::problem::Code;

    fn event(when: FrameTime, id: Option<&'static str>) -> EventFrame<'static> {
        EventFrame { when, id, type_number: 7, version: None, data: b"{ }", dot: None, clash: false }
    }

    fn body(frames: &[Frame<'_>]) -> Bytes {
        let mut bytes = HEAD.to_vec();
        for frame in frames {
            write(&mut bytes, frame);
        }
        bytes.into()
    }

    /// What a frame says is what the draft says; what a replica said of the event, and of its page, is passed over.
    #[test]
    fn frames_become_drafts() {
        let time = ValidTime::from_millis(1_777_629_600_000).expect("in range");
        let dot = Some(Dot { origin: Origin([1; 8]), seq: Seq(1) });
        let from_feed = EventFrame {
            version: Some(2),
            dot,
            clash: true,
            ..event(FrameTime::Key(EventKey([9; 16])), None)
        };
        let frames = body(&[
            Frame::Event(event(FrameTime::Now, None)),
            Frame::Event(event(FrameTime::At(time), Some("docket 8817 line 3"))),
            Frame::End(EndFrame { left: Some(1), cursor: Some("c"), vv: None }),
            Frame::Event(from_feed),
        ]);
        let drafts = read(&frames, &Limits::default()).expect("frames");
        let drafts: Vec<Draft> = drafts.into_iter().map(|draft| draft.expect("an event")).collect();
        let places: Vec<_> =
            drafts.iter().map(|draft| (draft.pointer.clone(), draft.when, draft.version)).collect();
        let expected = [
            (Place::Nth(0), When::Now, None),
            (Place::Nth(1), When::At(time), None),
            (Place::Nth(2), When::Key(EventKey([9; 16])), Some(2)),
        ];
        assert_eq!(places, expected);
        assert_eq!(drafts[1].tail, Some(tail_of_id("docket 8817 line 3")));
        assert!(drafts.iter().all(|draft| draft.data == b"{ }"[..] && draft.type_ref == TypeRef::Number(7)));
    }

    /// Too many events, and one that is too long, are refused with the limit.
    #[test]
    fn limits_hold() {
        let frames = body(&[Frame::Event(event(FrameTime::Now, None)); 3]);
        let code = |limits: Limits| read(&frames, &limits).err().map(|problem| problem.code);
        assert_eq!(code(Limits { request_events_max: 3, ..Limits::default() }), None);
        assert_eq!(code(Limits { request_events_max: 2, ..Limits::default() }), Some(Code::TooManyEvents));
        let long = vec![0; FRAME_OVERHEAD_BYTES + 11];
        let long = body(&[Frame::Event(EventFrame { data: &long, ..event(FrameTime::Now, None) })]);
        let refused = read(&long, &Limits { event_bytes_max: 10, ..Limits::default() });
        assert_eq!(refused.err().map(|problem| problem.code), Some(Code::FrameTooLong));
    }
}
