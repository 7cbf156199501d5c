"""Where this installation is: settings from the environment (`TALLYBACK_…`), read by the drivers alone."""

from __future__ import annotations

from pathlib import Path

from pydantic import ByteSize, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of one installation. Every one can be given as TALLYBACK_<NAME>; secrets are shown masked."""

    model_config = SettingsConfigDict(env_prefix="TALLYBACK_", frozen=True, extra="forbid")

    warehouse_url: SecretStr = Field(description="PostgreSQL URL of the warehouse, as a login that may take the roles")
    lake: str = Field(default=".tallyback/lake", description="where the lake is: a folder, or s3://bucket/prefix")
    lake_connection: str | None = Field(
        default=None, description="connection with the bucket's key and address; not set: AWS_… variables or role"
    )
    lake_cache_bytes: ByteSize = Field(
        default=ByteSize(20 * 1024**3), description="how many bytes of a bucket's lake each machine keeps a copy of"
    )
    configuration: Path = Field(default=Path("config"), description="folder of entity.yaml, partners/, clicks/, banks/")
    temporary: Path = Field(default=Path(".tallyback/temporary"), description="scratch space; may be emptied at rest")
    reports: Path = Field(default=Path(".tallyback/reports"), description="where reports and exports are written")
    key_file: Path = Field(default=Path(".tallyback/keys"), description="keys that encrypt personal data, mode 0600")
    reference: Path | None = Field(
        default=None,
        description="folder with programs.csv, cashback_rules.csv and perhaps contract_terms.csv, aliases.csv",
    )
    rates: Path | None = Field(default=None, description="the ECB's eurofxref-hist file, csv, zip or gz")
    remittances: Path | None = Field(
        default=None, description="folder with what partners paid: <partner_account>/*.csv, loaded by the stage remit"
    )
    memory_limit: str = Field(default="2GB", description="what the engine may use before it spills")
    clock: Path | None = Field(default=None, description="sandbox only: a clock.json that replaces the machine's clock")


def read_settings() -> Settings:
    """Return the settings of the environment. Raises pydantic's ValidationError naming what is missing or wrong."""
    return Settings()
