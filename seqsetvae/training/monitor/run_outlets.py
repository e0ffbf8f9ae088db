"""`RunOutlets`: alerts of a run in MLflow."""

from __future__ import annotations

from seqsetvae import names
from seqsetvae.collapse.alerts import PRIMARY, as_table
from seqsetvae.collapse.diagnosis import Level
from seqsetvae.palette import run_color
from seqsetvae.tracking.compat.image_series import thumbnail
from seqsetvae.tracking.write.run import Run
from seqsetvae.training.monitor.alert_outlets import AlertOutlets, Messenger


class RunOutlets(AlertOutlets):
    """:class:`AlertOutlets` whose table, log, figures, report and level are among the run's artifacts and tags as well.

    Args:
        run: the MLflow run.
        log_dir: the folder; None: no files.
        verbose: print every alert; False: red ones only.
        notifier: gets orange and red alerts, what would be one but for the grace period, and the end of a red one.
        subject: what a message says it is about, such as the name of the run.

    Raises:
        InputError: `log_dir` cannot be written.
    """

    knows_flags = True

    def __init__(
        self, run: Run, log_dir: str | None, verbose: bool, notifier: Messenger | None = None, subject: str = ""
    ) -> None:
        super().__init__(log_dir, verbose, notifier, subject)
        self.run = run
        self._newest: dict[str, bytes] = {}
        self._level_known()

    @property
    def log_file(self) -> str:
        """Where the log is: in the folder, else among the run's artifacts."""
        return names.ARTIFACT_COLLAPSE_LOG if self._folder is None else super().log_file

    def figure(self, key: str, png: bytes, step: int) -> None:
        """A figure, for the run's image panel too."""
        self.run.log_image(png, key, step)
        if key == names.IMAGE_COLLAPSE:
            self.run.log_bytes(png, names.ARTIFACT_COLLAPSE_FIGURE)
            self.run.log_bytes(thumbnail(png), names.ARTIFACT_COLLAPSE_THUMBNAIL)
        self._newest[key] = png
        super().figure(key, png, step)

    def no_more_figures(self) -> None:
        """The image panel opens at step 0, which no figure has: the newest of each is put there."""
        for key, png in self._newest.items():
            self.run.log_image(png, key, 0)
        self._newest = {}

    def _level_known(self) -> None:
        level = Level(self._levels.get(PRIMARY, Level.UNKNOWN)).word
        self.run.set_tag(names.TAG_COLLAPSE, level)
        self.run.set_tag(names.TAG_RUN_COLOR, run_color(self.run.color, level))
        self.run.set_tag(names.TAG_COLLAPSE_WORST, self._worst.word)
        if self._first_red_step is not None:
            self.run.set_tag(names.TAG_COLLAPSE_STEP, self._first_red_step)

    def _write_table(self) -> None:
        self.run.log_table(as_table(self._alerts), names.ARTIFACT_ALERTS)
        super()._write_table()

    def _write(self, artifact: str, text: str) -> None:
        self.run.log_text(text, artifact)
        super()._write(artifact, text)
