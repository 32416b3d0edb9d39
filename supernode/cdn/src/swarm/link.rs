//! One link and its streams.

use shared::{
    base::{EffectId, LinkId},
    cdn::bulk::StreamKind,
    peer::{LinkAbout, Stream},
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
};

use super::{
    CONTROL_FRAMES, FAREWELL, SERVE_JOBS,
    serve::{self, Cancelled, Job},
    streams::{self, Opened, Report},
};
use crate::Cdn;

/// A link. Dropped, its tasks end.
pub(super) struct Link {
    id: LinkId,
    pub(super) about: LinkAbout,
    control: Option<mpsc::Sender<Vec<u8>>>,
    control_writer: Option<JoinHandle<()>>,
    serve: Option<mpsc::Sender<Job>>,
    serve_reader: Option<JoinHandle<()>>,
    closing: bool,
    cancelled: Cancelled,
    tasks: Vec<AbortHandle>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Link {
    pub(super) fn new(id: LinkId, about: LinkAbout) -> Self {
        Self {
            id,
            about,
            control: None,
            control_writer: None,
            serve: None,
            serve_reader: None,
            closing: false,
            cancelled: Cancelled::default(),
            tasks: Vec::new(),
        }
    }

    /// Takes the remote's stream into use.
    pub(super) fn accept(&mut self, stream: links::Stream, reports: &mpsc::Sender<Report>) {
        self.spawn(streams::accept(self.id, stream, reports.clone()));
    }

    /// Opens the control stream.
    pub(super) fn open_control(&mut self, links: &links::Control, reports: &mpsc::Sender<Report>) {
        self.spawn(streams::open_control(self.id, links.clone(), reports.clone()));
    }

    /// Its number.
    pub(super) const fn id(&self) -> LinkId {
        self.id
    }

    /// Whether the control stream is there.
    pub(super) const fn has_control(&self) -> bool {
        self.control.is_some()
    }

    /// Starts reading and writing a stream. False for a second one of its kind, which is dropped: the
    /// protocol has one control stream a link, and a bulk stream a direction.
    pub(super) fn start(
        &mut self,
        kind: StreamKind,
        opened: Opened,
        cdn: &Cdn,
        reports: &mpsc::Sender<Report>,
    ) -> bool {
        let Opened { reader, writer } = opened;
        let which = match kind {
            StreamKind::Control if self.control.is_none() && !self.closing => {
                let (sender, frames) = mpsc::channel(CONTROL_FRAMES);
                self.control = Some(sender);
                // Not ended with the link: it says farewell first.
                self.control_writer = Some(tokio::spawn(streams::write_frames(frames, writer)));
                Stream::Control
            }
            // A receiver whose stream died opens another.
            StreamKind::Bulk if self.serve_reader.as_ref().is_none_or(JoinHandle::is_finished) => {
                let (sender, jobs) = mpsc::channel(SERVE_JOBS);
                self.serve = Some(sender);
                self.spawn(serve::run(cdn.clone(), jobs, writer, self.cancelled.clone(), reports.clone()));
                Stream::Serve
            }
            StreamKind::Control | StreamKind::Bulk => return false,
        };
        let reading = self.spawn(streams::read_frames(self.id, which, reader, reports.clone()));
        if which == Stream::Serve {
            self.serve_reader = Some(reading);
        }
        true
    }

    /// Queues a frame; false where the link does not keep up.
    pub(super) fn transmit(&self, stream: Stream, frame: Vec<u8>) -> bool {
        match stream {
            Stream::Control => self.control.as_ref().is_none_or(|control| control.try_send(frame).is_ok()),
            Stream::Serve => {
                let full = |serve: &mpsc::Sender<Job>| {
                    matches!(serve.try_send(Job::Frame(frame)), Err(mpsc::error::TrySendError::Full(_)))
                };
                self.serve.as_ref().is_none_or(|serve| !full(serve))
            }
            // A supernode pulls from origins and edges, not over links.
            Stream::Fetch => true,
        }
    }

    /// Queues an answer; false where it cannot be.
    pub(super) fn serve(&self, job: Job) -> bool {
        self.serve.as_ref().is_some_and(|serve| serve.try_send(job).is_ok())
    }

    pub(super) fn cancel(&self, effect: EffectId) {
        self.cancelled.insert(effect);
    }

    /// Closes the link once what was queued is written, or after a while.
    pub(super) fn close(&mut self, links: &links::Control) {
        let (id, links) = (links::LinkId::from_u64(self.id.0), links.clone());
        self.closing = true;
        self.control = None;
        let writer = self.control_writer.take();
        tokio::spawn(async move {
            if let Some(writer) = writer {
                let _ = tokio::time::timeout(FAREWELL, writer).await;
            }
            links.close(id);
        });
    }

    /// Starts a task that ends with the link at the latest.
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let task = tokio::spawn(task);
        // A link has a few at a time; those that ended make way.
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(task.abort_handle());
        task
    }
}
