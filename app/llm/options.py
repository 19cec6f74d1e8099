"""What wiring hands to every provider of language models when it opens one."""

from dataclasses import dataclass, field
from pathlib import Path

from app.llm.local_child import LocalServers
from app.llm.vertex_access import VertexAccess
from app.llm.vertex_regions import Regions


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """One lane's access to its provider; each provider reads what it needs. The key never shows in a repr."""

    base_url: str = "https://api.openai.com/v1"
    api_key: str | None = field(default=None, repr=False)
    connect_timeout_s: float = 5.0
    max_connections: int = 1000
    home: Path | None = None
    keep_connections: bool = True
    local_servers: LocalServers = field(default_factory=LocalServers, repr=False, compare=False)
    vertex: VertexAccess = field(default_factory=VertexAccess)
    regions: Regions = field(default_factory=Regions, repr=False, compare=False)
