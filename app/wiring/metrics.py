"""What is counted, who reads it, and by which token."""

from dataclasses import replace

from app.http.callers import Identify
from app.http.metrics import scrapers
from app.http.parts import Parts
from app.question import POLICIES
from app.record.intake import Intake
from app.settings import Settings
from app.telemetry.labels import Models
from app.telemetry.meters import Meters
from app.telemetry.metrics import Metrics
from app.telemetry.process import Process
from app.telemetry.vitals import Sources
from app.wiring import models


def open_metrics(settings: Settings, version: str) -> Metrics:
    """Everything at nought; the parts to be read are named by `joined`, once they are there."""
    labels = Models(models.configured(settings).values(), models.PROVIDERS)
    sources = Sources(version, settings.max_live_runs, labels.breaker_label)
    return Metrics(Meters(labels, POLICIES), sources, Process(settings.spool_path))


def joined(parts: Parts, settings: Settings, numbers: Metrics, journal: Intake | None = None) -> Parts:
    """The parts with their numbers, which read the parts."""
    sources = numbers.sources
    sources.runs, sources.health, sources.audit = parts.runs, parts.readiness, journal
    sources.cache, sources.doorman = parts.answers.cache, parts.doorman
    sources.board = parts.board
    identify = _open_to_scrapers(parts.identify, settings)
    return replace(parts, meters=numbers.meters, numbers=numbers, identify=identify)


def _open_to_scrapers(identify: Identify, settings: Settings) -> Identify:
    """METRICS_TOKEN opens the numbers; where nobody is asked who they are and all the world can connect, it alone."""
    if settings.metrics_token is None:
        return identify
    alone = settings.auth == "off" and not settings.loopback
    return scrapers(identify, settings.metrics_token.get_secret_value(), alone=alone)
