"""Studies, their films, jobs, reports and keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_STUDY = "studies.id"


def upgrade() -> None:
    """The way up."""
    op.create_table(
        "studies",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("language", sa.String(2), nullable=False),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("fracture", sa.Float),
        sa.Column("urgent", sa.Integer, nullable=False),
    )
    op.create_index("studies_worklist", "studies", ["priority", "fracture", "created"])
    op.create_table(
        "instances",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
    )
    op.create_index("instances_sha256", "instances", ["sha256"])
    op.create_table(
        "views",
        sa.Column(
            "study", sa.String(16), sa.ForeignKey(_STUDY, ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("instance", sa.String(64), sa.ForeignKey("instances.key"), nullable=False),
    )
    op.create_index("ix_views_instance", "views", ["instance"])
    op.create_table(
        "jobs",
        sa.Column(
            "study", sa.String(16), sa.ForeignKey(_STUDY, ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("language", sa.String(2), primary_key=True),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("started", sa.Float),
        sa.Column("finished", sa.Float),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("strikes", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(200)),
        sa.Column("lease_until", sa.Float),
        sa.Column("error", sa.String(40)),
        sa.Column("detail", sa.String(200)),
    )
    op.create_index("jobs_queue", "jobs", ["state", "created"])
    op.create_table(
        "reports",
        sa.Column(
            "study", sa.String(16), sa.ForeignKey(_STUDY, ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("language", sa.String(2), primary_key=True),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("verdict", sa.String(8), nullable=False),
        sa.Column("flags", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(40), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("expires", sa.Float),
        sa.Column("revoked", sa.Float),
    )


def downgrade() -> None:
    """The way down."""
    for table in ("keys", "reports", "jobs", "views", "instances", "studies"):
        op.drop_table(table)
